import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { ApiAccess } from './api.js';
import type { ComponentSpec } from './component.js';
import type { Config } from './config.js';
import { componentFile, componentName, type HostContext } from './host.js';
import type { Paths } from './paths.js';

/** Entry file of an app of this workspace. */
const appMain = (app: string): string => fileURLToPath(new URL(`../../${app}/dist/main.js`, import.meta.url));

/** A child that ends with the supervisor, whatever becomes of that. */
const bound = ['--pdeathsig=TERM', '--', process.execPath, '--enable-source-maps'];

/** The API; it migrates the store itself before it listens. */
export function apiComponent(
  paths: Paths,
  config: Config,
  databaseUrl: string,
  linkAddresses: () => readonly string[],
  api: ApiAccess,
): ComponentSpec {
  return {
    name: 'api',
    command: 'setpriv',
    args: () => [...bound, appMain('api')],
    env: () => ({
      ...process.env,
      NODE_ENV: 'production',
      DATABASE_URL: databaseUrl,
      BERTH_ROOT: paths.root,
      BERTH_API_PORT: String(config.apiPort),
      BERTH_LINK_PORT: String(config.linkPort),
      BERTH_LINK_ADDRESSES: linkAddresses().join(','),
    }),
    cwd: '/',
    logFile: join(paths.log, 'api.log'),
    record: join(paths.components, 'api.json'),
    outlives: false,
    stopSignal: 'SIGTERM',
    stopTimeoutMs: 10_000,
    address: api.base,
    ready: () => api.waitsFor(),
  };
}

/** The agent of one host. It joins with a token where it has no certificate yet; instances outlive it. */
export function agentComponent(paths: Paths, host: HostContext, api: ApiAccess): ComponentSpec {
  const { command, args } = host.enter('setpriv', [...bound, appMain('agent')]);
  const joined = (): boolean => existsSync(join(host.root, 'var/lib/berth/agent/link/agent.crt'));
  return {
    name: componentName(host, 'agent'),
    command,
    args: () => args,
    env: async () => ({
      ...process.env,
      NODE_ENV: 'production',
      BERTH_ROOT: host.root,
      BERTH_HOST_NAME: host.name,
      BERTH_LINK: host.link,
      ...(joined() ? {} : { BERTH_JOIN_TOKEN: await api.joinToken(host.name) }),
    }),
    cwd: '/',
    logFile: componentFile(paths.log, host, 'agent', 'log'),
    record: componentFile(paths.components, host, 'agent', 'json'),
    outlives: false,
    stopSignal: 'SIGTERM',
    stopTimeoutMs: 10_000,
    address: `link ${host.link}`,
    ready: async () => {
      const found = await api.hostState(host.name);
      if (found === null) return `waiting for host ${host.name} to join`;
      if (found.state === 'ready') return null;
      return `host ${host.name} is ${found.state}${found.reason === null ? '' : `: ${found.reason}`}`;
    },
  };
}
