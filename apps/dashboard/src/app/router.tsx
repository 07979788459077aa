import type { QueryClient } from '@tanstack/react-query';
import {
  createRootRouteWithContext,
  createRoute,
  createRouter,
  lazyRouteComponent,
  Link,
  Outlet,
  redirect,
} from '@tanstack/react-router';
import type { Live } from '../api/live.js';
import { projectsQuery } from '../api/queries.js';
import { sessionQuery } from '../api/session.js';
import { Empty, Failure, Waiting } from '../parts/notices.js';
import { projectChoose } from './project.js';
import { Shell } from './shell.js';
import { SignIn } from './sign-in.js';

interface Context {
  readonly client: QueryClient;
  readonly live: Live;
}

const text = (value: unknown): string | undefined =>
  typeof value === 'string' && value !== '' ? value : typeof value === 'number' ? String(value) : undefined;

/** The fields of an address's query that a page knows; everything else is left out. */
const fields =
  <K extends string>(...names: readonly K[]) =>
  (search: Record<string, unknown>): { [P in K]?: string | undefined } =>
    Object.fromEntries(names.map((name) => [name, text(search[name])])) as { [P in K]?: string | undefined };

const root = createRootRouteWithContext<Context>()({
  component: Outlet,
  notFoundComponent: () => (
    <Empty title="There is no such page">
      <Link to="/">Overview</Link>
    </Empty>
  ),
});

const signIn = createRoute({
  getParentRoute: () => root,
  path: '/sign-in',
  validateSearch: fields('from'),
  component: SignIn,
});

/** Everything but the sign-in, for whoever is signed in. */
const inside = createRoute({
  getParentRoute: () => root,
  id: 'inside',
  beforeLoad: async ({ context, location }) => {
    const session = await context.client.ensureQueryData(sessionQuery);
    if (session === null) throw redirect({ to: '/sign-in', search: { from: location.href } });
  },
  component: Shell,
});

const home = createRoute({
  getParentRoute: () => inside,
  path: '/',
  beforeLoad: async ({ context }) => {
    const projects = await context.client.ensureQueryData(projectsQuery);
    const project = projectChoose(projects.map((p) => p.name));
    throw redirect({ to: '/p/$project', params: { project } });
  },
});

const project = createRoute({ getParentRoute: () => inside, path: '/p/$project', component: Outlet });
const overview = createRoute({
  getParentRoute: () => project,
  path: '/',
  component: lazyRouteComponent(() => import('../overview/overview.js'), 'Overview'),
});
const instances = createRoute({
  getParentRoute: () => project,
  path: '/instances',
  validateSearch: fields('state', 'isolation', 'host', 'selector', 'search'),
  component: lazyRouteComponent(() => import('../instances/list.js'), 'InstanceList'),
});
const create = createRoute({
  getParentRoute: () => project,
  path: '/create',
  validateSearch: fields('image'),
  component: lazyRouteComponent(() => import('../instances/create.js'), 'InstanceCreate'),
});
const instance = createRoute({
  getParentRoute: () => project,
  path: '/instances/$name',
  validateSearch: fields('tab'),
  component: lazyRouteComponent(() => import('../instances/instance.js'), 'InstancePage'),
});
const images = createRoute({
  getParentRoute: () => project,
  path: '/images',
  component: lazyRouteComponent(() => import('../images/images.js'), 'ImagesPage'),
});
const networks = createRoute({
  getParentRoute: () => project,
  path: '/networks',
  component: lazyRouteComponent(() => import('../networks/networks.js'), 'NetworksPage'),
});
const volumes = createRoute({
  getParentRoute: () => project,
  path: '/volumes',
  component: lazyRouteComponent(() => import('../networks/volumes.js'), 'VolumesPage'),
});
const secrets = createRoute({
  getParentRoute: () => project,
  path: '/secrets',
  component: lazyRouteComponent(() => import('../access/secrets.js'), 'SecretsPage'),
});
const operations = createRoute({
  getParentRoute: () => project,
  path: '/operations',
  validateSearch: fields('state'),
  component: lazyRouteComponent(() => import('../operations/operations.js'), 'OperationsPage'),
});
const hosts = createRoute({
  getParentRoute: () => inside,
  path: '/hosts',
  component: lazyRouteComponent(() => import('../hosts/hosts.js'), 'HostsPage'),
});
const host = createRoute({
  getParentRoute: () => inside,
  path: '/hosts/$host',
  component: lazyRouteComponent(() => import('../hosts/host.js'), 'HostPage'),
});
const tokens = createRoute({
  getParentRoute: () => inside,
  path: '/tokens',
  component: lazyRouteComponent(() => import('../access/tokens.js'), 'TokensPage'),
});

const tree = root.addChildren([
  signIn,
  inside.addChildren([
    home,
    project.addChildren([
      overview,
      instances,
      create,
      instance,
      images,
      networks,
      volumes,
      secrets,
      operations,
    ]),
    hosts,
    host,
    tokens,
  ]),
]);

export function routerMake(client: QueryClient, live: Live) {
  return createRouter({
    routeTree: tree,
    basepath: '/ui',
    context: { client, live },
    defaultPreload: 'intent',
    defaultPendingMs: 150,
    defaultPendingComponent: () => <Waiting />,
    defaultErrorComponent: ({ error, reset }) => <Failure error={error} retry={reset} />,
    scrollRestoration: true,
  });
}

declare module '@tanstack/react-router' {
  interface Register {
    router: ReturnType<typeof routerMake>;
  }
}
