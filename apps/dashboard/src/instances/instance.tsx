import { isGoodNews } from '@berth/model';
import { useQuery } from '@tanstack/react-query';
import { Link, useNavigate, useParams, useSearch } from '@tanstack/react-router';
import { ProblemError } from '@berth/client';
import { lazy, Suspense, type KeyboardEvent } from 'react';
import type { Instance } from '../api/client.js';
import { decisionsQuery, eventsQuery, instanceQuery } from '../api/queries.js';
import { covers, sessionQuery } from '../api/session.js';
import { span } from '../parts/format.js';
import { Empty, Failure, Waiting } from '../parts/notices.js';
import { Facts, Page, Panel } from '../parts/page.js';
import { State } from '../parts/state.js';
import { Time } from '../parts/time.js';
import { Actions } from './actions.js';
import { Asked } from './asked.js';
import { DecisionView } from './decision.js';
import { eventText } from './event-text.js';
import { Logs } from './logs.js';
import { InstanceDisplay } from './display.js';
import { Cdroms } from './cdroms.js';
import { Snapshots } from './snapshots.js';
import { InstanceTerminal } from './terminal.js';
import { stretchesOf } from './timeline.js';

const InstanceMetrics = lazy(() => import('./metrics.js').then((m) => ({ default: m.InstanceMetrics })));

const route = '/inside/p/$project/instances/$name';

export function InstancePage() {
  const { project, name } = useParams({ from: route });
  const { data, error, refetch } = useQuery(instanceQuery(project, name));
  const session = useQuery(sessionQuery).data;
  if (error instanceof ProblemError && error.status === 404)
    return (
      <Page title={name}>
        <Empty title={`There is no instance ${name}`}>
          <p className="flat">It was deleted, or never was in project {project}.</p>
          <Link to="/p/$project/instances" params={{ project }}>
            All instances
          </Link>
        </Empty>
      </Page>
    );
  return (
    <Page
      title={name}
      beside={
        data !== undefined && (
          <>
            <State state={data.status.state} />
            <span className="dim">
              {data.spec.isolation === 'vm' ? 'virtual machine' : data.spec.isolation}
            </span>
          </>
        )
      }
      actions={data !== undefined && covers(session, 'operator') && <Actions instance={data} />}
    >
      {error !== null && <Failure error={error} retry={() => void refetch()} />}
      {data === undefined && error === null && <Waiting />}
      {data !== undefined && <Tabs instance={data} />}
    </Page>
  );
}

function tabsOf(instance: Instance): readonly (readonly [string, string])[] {
  return [
    ['overview', 'Overview'],
    ['terminal', instance.spec.isolation === 'vm' ? 'Console' : 'Terminal'],
    ...(instance.spec.isolation === 'vm' ? [['display', 'Display'] as const] : []),
    ['logs', instance.spec.isolation === 'vm' ? 'Serial output' : 'Log'],
    ...(instance.spec.isolation === 'vm' ? [['snapshots', 'Snapshots'] as const] : []),
    ['decision', 'Decision'],
    ['events', 'Events'],
    ['spec', 'Spec'],
  ];
}

/** Tabs whose choice is in the address, so that a link leads to what was seen. Arrow keys move between them (WAI-ARIA tabs). */
function Tabs({ instance }: { instance: Instance }) {
  const navigate = useNavigate();
  const tabs = tabsOf(instance);
  const asked = useSearch({ from: route }).tab;
  const chosen = tabs.find(([id]) => id === asked)?.[0] ?? 'overview';
  const { project, name } = instance;
  const choose = (tab: string): void =>
    void navigate({
      to: '/p/$project/instances/$name',
      params: { project, name },
      search: { tab: tab === 'overview' ? undefined : tab },
      replace: true,
    });
  const keys = (event: KeyboardEvent): void => {
    const step = event.key === 'ArrowRight' ? 1 : event.key === 'ArrowLeft' ? -1 : 0;
    if (step === 0) return;
    const at = tabs.findIndex(([id]) => id === chosen);
    const next = tabs[(at + step + tabs.length) % tabs.length]?.[0] ?? 'overview';
    choose(next);
    document.getElementById(`tab-${next}`)?.focus();
  };
  return (
    <>
      <div className="tabs" role="tablist" aria-label="Parts of the instance" onKeyDown={keys}>
        {tabs.map(([id, title]) => (
          <button
            key={id}
            id={`tab-${id}`}
            type="button"
            role="tab"
            aria-selected={id === chosen}
            aria-controls="tab-panel"
            tabIndex={id === chosen ? 0 : -1}
            onClick={() => choose(id)}
          >
            {title}
          </button>
        ))}
      </div>
      <div id="tab-panel" role="tabpanel" aria-labelledby={`tab-${chosen}`}>
        {chosen === 'overview' && <Overview instance={instance} />}
        {chosen === 'terminal' && <InstanceTerminal instance={instance} key={instance.id} />}
        {chosen === 'display' && <InstanceDisplay instance={instance} key={instance.id} />}
        {chosen === 'logs' && <Logs instance={instance} />}
        {chosen === 'snapshots' && <Snapshots instance={instance} key={instance.id} />}
        {chosen === 'decision' && <Decisions instance={instance} />}
        {chosen === 'events' && <Events instance={instance} />}
        {chosen === 'spec' && <Spec instance={instance} />}
      </div>
    </>
  );
}

function Overview({ instance }: { instance: Instance }) {
  const { status, project } = instance;
  return (
    <div className="grid">
      <Conditions instance={instance} />
      <Panel title="Status">
        <Facts
          facts={[
            [
              'Host',
              status.host === null ? (
                <span className="dim">none yet</span>
              ) : (
                <HostName host={status.host.name} />
              ),
            ],
            [
              'Address',
              status.nics.map((n) => (
                <span className="mono" key={n.id}>
                  {n.ipv4}
                  {n.ipv6 === undefined ? null : <>, {n.ipv6}</>} ({n.network}, {n.mac})
                  {n.leaving === true ? (
                    <span className="dim"> leaving: its guest has not let go of it</span>
                  ) : null}
                </span>
              )),
            ],
            ...(status.numaHostNodes === null
              ? []
              : [['NUMA', `bound to ${status.numaHostNodes.join(', ')} of its host`] as const]),
            ...(status.uidRange === null
              ? []
              : [
                  [
                    'Users',
                    `${status.uidRange.first} to ${status.uidRange.first + status.uidRange.count - 1} of its host`,
                  ] as const,
                ]),
            ...(status.vsockCid === null
              ? []
              : [['vsock', <span className="mono">context id {status.vsockCid}</span>] as const]),
            ...(status.nics.some((n) => n.ports.length > 0)
              ? [
                  [
                    'Published',
                    status.nics.flatMap((n) =>
                      n.ports.map((p) => (
                        <span className="mono" key={`${p.protocol} ${p.hostPort}`}>
                          {p.protocol} {p.hostPort} of the host &rarr; {p.guestPort} ({n.network})
                        </span>
                      )),
                    ),
                  ] as const,
                ]
              : []),
            ...(instance.spec.nics.some((n) => n.limits !== undefined && Object.keys(n.limits).length > 0)
              ? [
                  [
                    'Traffic limits',
                    instance.spec.nics.map(({ network, limits: { ingressMbps, egressMbps } = {} }) => (
                      <span key={network}>
                        {network}: {ingressMbps ?? 'any'} Mbit/s in, {egressMbps ?? 'any'} Mbit/s out
                      </span>
                    )),
                  ] as const,
                ]
              : []),
            [
              'Epoch, run',
              status.epoch === null ? (
                <span className="dim">never placed</span>
              ) : (
                `${status.epoch}, ${status.run ?? 0}`
              ),
            ],
            ['Observed', <Time key="o" at={status.observedAt} />],
            ...(status.operationId === null
              ? []
              : [
                  [
                    'Operation',
                    <Link key="p" to="/p/$project/operations" params={{ project }}>
                      {status.operationId.slice(0, 8)}
                    </Link>,
                  ] as const,
                ]),
            ...(status.lastExit === null
              ? []
              : [['Last end', <LastExit key="e" instance={instance} />] as const]),
          ]}
        />
      </Panel>
      <Asked instance={instance} />
      <Cdroms instance={instance} />
      <Timeline instance={instance} />
      <Panel title="Last hour" className="wide-panel">
        <Suspense fallback={<Waiting rows={4} />}>
          <InstanceMetrics project={project} name={instance.name} />
        </Suspense>
      </Panel>
    </div>
  );
}

/** Hosts are for those who may see the cluster; others see their name. */
function HostName({ host }: { host: string }) {
  const session = useQuery(sessionQuery).data;
  return session?.project === null ? (
    <Link to="/hosts/$host" params={{ host }}>
      {host}
    </Link>
  ) : (
    host
  );
}

function LastExit({ instance: { status } }: { instance: Instance }) {
  const exit = status.lastExit;
  if (exit === null) return null;
  const how =
    exit.code !== undefined ? `, code ${exit.code}` : exit.signal !== undefined ? `, ${exit.signal}` : '';
  return (
    <>
      {exit.reason}
      {how}
      {exit.message === undefined ? '' : `: ${exit.message}`}{' '}
      <span className="dim">
        <Time at={exit.at} />
      </span>
    </>
  );
}

function Conditions({ instance: { status, name, project } }: { instance: Instance }) {
  const waits = status.state === 'pending' && status.reason !== null && status.conditions.length === 0;
  if (status.conditions.length === 0 && !waits && status.reason === null) return null;
  return (
    <Panel title={waits ? 'Why it waits' : 'Conditions'} className="wide-panel notice">
      {status.reason !== null && <p className="flat">{status.reason}</p>}
      {waits && (
        <p className="flat remedy">
          It starts by itself as soon as a host fits.{' '}
          <Link to="/p/$project/instances/$name" params={{ project, name }} search={{ tab: 'decision' }}>
            What each host lacks
          </Link>
        </p>
      )}
      <ul className="troubles">
        {status.conditions.map((c) => (
          <li key={c.type}>
            <State state={c.type} tone={isGoodNews(c) ? 'good' : 'odd'} />
            <div>
              {c.message}{' '}
              <span className="dim">
                <Time at={c.since} />
              </span>
              {c.remedy !== undefined && <p className="flat remedy">{c.remedy}</p>}
            </div>
          </li>
        ))}
      </ul>
    </Panel>
  );
}

function Timeline({ instance }: { instance: Instance }) {
  const { data, error } = useQuery(eventsQuery(instance.id));
  const stretches = stretchesOf(data ?? [], instance.createdAt).slice(-12);
  return (
    <Panel title="Timeline" className="wide-panel">
      {error !== null && <Failure error={error} />}
      {data === undefined && error === null && <Waiting rows={2} />}
      {data !== undefined && stretches.length === 0 && (
        <p className="flat dim">It has not changed its state yet.</p>
      )}
      <ol className="timeline">
        {stretches.map((s) => (
          <li key={`${s.from} ${s.state}`}>
            <State state={s.state} />
            <span className="dim">
              {s.lasted === null ? (
                <>
                  since <Time at={s.from} />
                </>
              ) : (
                span(s.lasted)
              )}
            </span>
            {s.reason !== null && <span className="dim">{s.reason}</span>}
          </li>
        ))}
      </ol>
    </Panel>
  );
}

function Decisions({ instance }: { instance: Instance }) {
  const { project, name } = instance;
  const { data, error, refetch } = useQuery(decisionsQuery(project, name));
  if (error !== null) return <Failure error={error} retry={() => void refetch()} />;
  if (data === undefined) return <Waiting />;
  const [newest, ...older] = data;
  if (newest === undefined) return <Empty title="The scheduler has not looked at it yet" />;
  return (
    <div className="stack">
      <Panel
        title="Newest decision"
        beside={
          <span className="dim small">
            {newest.strategy}, <Time at={newest.at} />
          </span>
        }
      >
        <DecisionView decision={newest} />
      </Panel>
      {older.map((d) => (
        <details className="panel" key={d.id}>
          <summary>
            {d.outcome === 'placed' ? `placed on ${d.host}` : 'no host fitted'}{' '}
            <span className="dim">
              <Time at={d.at} />
            </span>
          </summary>
          <DecisionView decision={d} />
        </details>
      ))}
    </div>
  );
}

function Events({ instance }: { instance: Instance }) {
  const { data, error, refetch } = useQuery(eventsQuery(instance.id));
  if (error !== null) return <Failure error={error} retry={() => void refetch()} />;
  if (data === undefined) return <Waiting />;
  return (
    <Panel title="Events" beside={<span className="dim small">newest first</span>}>
      <table className="list">
        <thead>
          <tr>
            <th scope="col">When</th>
            <th scope="col">Event</th>
            <th scope="col">What</th>
            <th scope="col" className="from-m">
              Who
            </th>
          </tr>
        </thead>
        <tbody>
          {[...data].reverse().map((e) => (
            <tr key={e.position}>
              <td className="dim nowrap">
                <Time at={e.at} />
              </td>
              <td>
                {e.type.replace(/\..*/, '.')}
                <wbr />
                {e.type.replace(/^[^.]*\./, '')}
              </td>
              <td className="dim anywhere">{eventText(e)}</td>
              <td className="from-m dim">{e.actor}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </Panel>
  );
}

function Spec({ instance }: { instance: Instance }) {
  return (
    <Panel title="Spec" beside={<span className="dim small">generation {instance.generation}</span>}>
      <pre className="log log-wrap" tabIndex={0} aria-label="Spec as JSON">
        {JSON.stringify({ name: instance.name, labels: instance.labels, spec: instance.spec }, null, 2)}
      </pre>
    </Panel>
  );
}
