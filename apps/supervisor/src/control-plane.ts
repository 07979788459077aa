import { existsSync, mkdirSync, rmSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { writeFileAtomic } from '@berth/linux';
import type { ApiAccess } from './api.js';
import type { ComponentSpec } from './component.js';
import type { Config } from './config.js';
import { componentFile, componentName, type HostContext } from './host.js';
import type { Paths } from './paths.js';

/** Entry file of an app of this workspace. */
const appMain = (app: string): string => fileURLToPath(new URL(`../../${app}/dist/main.js`, import.meta.url));

/** A child that ends with the supervisor, whatever becomes of that. */
const bound = ['--pdeathsig=TERM', '--', process.execPath];

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

/** A join token is good for 15 minutes; younger ones are kept, so that a join whose answer was lost can be repeated. */
const tokenKeptMs = 10 * 60 * 1000;

/** The agent of one host. It joins with a token where it has no identity yet; instances outlive it. */
export function agentComponent(paths: Paths, host: HostContext, api: ApiAccess): ComponentSpec {
  const { command, args } = host.enter('setpriv', [...bound, appMain('agent')]);
  const tokenFile = join(host.root, 'etc/berth/join-token');
  // A host stays `ready` for a while after its agent ended; only what was heard since this start counts.
  let begun = 0;
  return {
    name: componentName(host, 'agent'),
    command,
    args: () => args,
    env: () => ({
      ...process.env,
      NODE_ENV: 'production',
      BERTH_ROOT: host.root,
      BERTH_HOST_NAME: host.name,
      BERTH_API_LINK: host.link,
      BERTH_JOIN_TOKEN_FILE: tokenFile,
    }),
    cwd: '/',
    logFile: componentFile(paths.log, host, 'agent', 'log'),
    record: componentFile(paths.components, host, 'agent', 'json'),
    outlives: false,
    stopSignal: 'SIGTERM',
    stopTimeoutMs: 10_000,
    address: `link ${host.link}`,
    prepare: async () => {
      begun = Date.now();
      if (existsSync(join(host.root, 'var/lib/berth/agent/identity/identity.json'))) {
        rmSync(tokenFile, { force: true });
        return;
      }
      if (existsSync(tokenFile) && Date.now() - statSync(tokenFile).mtimeMs < tokenKeptMs) return;
      mkdirSync(dirname(tokenFile), { recursive: true, mode: 0o755 });
      await writeFileAtomic(tokenFile, `${await api.joinToken(host.name)}\n`, { mode: 0o600 });
    },
    ready: async () => {
      const found = await api.hostState(host.name);
      if (found === null) return `waiting for host ${host.name} to join`;
      if (Date.parse(found.lastSeenAt ?? '') >= begun && found.state === 'ready') return null;
      if (found.state === 'ready') return `waiting for the agent of ${host.name} to connect`;
      return `host ${host.name} is ${found.state}${found.reason === null ? '' : `: ${found.reason}`}`;
    },
  };
}
