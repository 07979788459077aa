import { useQuery, useQueryClient } from '@tanstack/react-query';
import { Link, Outlet, useNavigate, useParams, useRouter, useRouterState } from '@tanstack/react-router';
import { useEffect, useState } from 'react';
import { useLive, type LiveState } from '../api/live.js';
import { projectsQuery } from '../api/queries.js';
import { covers, sessionQuery, signOut } from '../api/session.js';
import { Icon, type IconName } from '../parts/icons.js';
import { projectChoose, projectRemember } from './project.js';
import { SchemeToggle } from './scheme.js';

/** Frame of every page: where one can go, who one is, and whether what is shown is live. */
export function Shell() {
  const client = useQueryClient();
  const router = useRouter();
  const { live } = router.options.context;
  const session = useQuery(sessionQuery).data;
  const [open, setOpen] = useState(false);
  const path = useRouterState({ select: (s) => s.location.href });
  useEffect(() => live.start(), [live]);
  useEffect(() => setOpen(false), [path]);
  useEffect(() => {
    if (session === null)
      void router.navigate({ to: '/sign-in', search: { from: router.state.location.href } });
  }, [session, router]);
  const state = useLive(live);
  if (session === null || session === undefined) return null;
  const leave = (): void => void signOut(client);
  return (
    <div className="shell">
      <a className="skip" href="#main">
        Skip to the page
      </a>
      <header className="side">
        <div className="brand">
          <Link to="/" className="brand-name">
            <img src="/ui/berth.svg" alt="" width="22" height="22" />
            Berth
          </Link>
          <Connection state={state} />
          <button
            type="button"
            className="icon-button menu-button"
            aria-expanded={open}
            aria-controls="menu"
            aria-label="Menu"
            onClick={() => setOpen(!open)}
          >
            <Icon name="menu" />
          </button>
        </div>
        <div id="menu" className={open ? 'menu menu-open' : 'menu'}>
          <Menu cluster={session.project === null} admin={covers(session, 'admin')} />
          <div className="side-foot">
            <div className="who">
              <span className="who-name" title={session.actor}>
                {session.actor.replace(/^token:/, '')}
              </span>
              <span className="dim">{session.role}</span>
            </div>
            <SchemeToggle />
            <button
              type="button"
              className="icon-button"
              aria-label="Sign out"
              title="Sign out"
              onClick={leave}
            >
              <Icon name="out" />
            </button>
          </div>
        </div>
      </header>
      <main id="main" tabIndex={-1}>
        {state === 'lost' && (
          <p className="banner" role="status">
            The connection to Berth is lost: what is shown may be old. Trying again.
          </p>
        )}
        <Outlet />
      </main>
    </div>
  );
}

const words: Readonly<Record<LiveState, string>> = {
  connecting: 'Connecting',
  live: 'Live',
  lost: 'Offline',
  paused: 'Paused',
};

function Connection({ state }: { state: LiveState }) {
  return (
    <span className={`connection connection-${state}`} role="status">
      {words[state]}
    </span>
  );
}

const ofProject = [
  ['/p/$project', 'Overview', 'overview'],
  ['/p/$project/instances', 'Instances', 'instances'],
  ['/p/$project/images', 'Images', 'images'],
  ['/p/$project/networks', 'Networks', 'networks'],
  ['/p/$project/volumes', 'Volumes', 'volumes'],
  ['/p/$project/secrets', 'Secrets', 'secrets'],
  ['/p/$project/operations', 'Operations', 'operations'],
] as const satisfies readonly (readonly [string, string, IconName])[];

function Menu({ cluster, admin }: { cluster: boolean; admin: boolean }) {
  const params = useParams({ strict: false });
  const projects = useQuery(projectsQuery).data ?? [];
  const project = params.project ?? projectChoose(projects.map((p) => p.name));
  useEffect(() => {
    if (params.project !== undefined) projectRemember(params.project);
  }, [params.project]);
  return (
    <nav aria-label="Pages">
      <ProjectChoice project={project} />
      <ul>
        {ofProject.map(([to, name, icon]) => (
          <li key={to}>
            <Link
              to={to}
              params={{ project }}
              activeOptions={{ exact: to === '/p/$project', includeSearch: false }}
            >
              <Icon name={icon} />
              {name}
            </Link>
          </li>
        ))}
      </ul>
      {(cluster || admin) && <p className="menu-head">{cluster ? 'Cluster' : 'Access'}</p>}
      <ul>
        {cluster && (
          <li>
            <Link to="/hosts">
              <Icon name="hosts" />
              Hosts
            </Link>
          </li>
        )}
        {admin && (
          <li>
            <Link to="/tokens">
              <Icon name="tokens" />
              Tokens
            </Link>
          </li>
        )}
      </ul>
    </nav>
  );
}

function ProjectChoice({ project }: { project: string }) {
  const navigate = useNavigate();
  const names = (useQuery(projectsQuery).data ?? []).map((p) => p.name);
  const all = names.includes(project) ? names : [project, ...names];
  return (
    <label className="project">
      <span className="menu-head">Project</span>
      <select
        value={project}
        onChange={(e) => void navigate({ to: '/p/$project', params: { project: e.currentTarget.value } })}
      >
        {all.map((name) => (
          <option key={name}>{name}</option>
        ))}
      </select>
    </label>
  );
}
