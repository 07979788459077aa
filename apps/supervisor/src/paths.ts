import { join } from 'node:path';

/** Where one host keeps its things; all below `root`, which is `/` unless BERTH_ROOT says otherwise. */
export interface Paths {
  readonly root: string;
  readonly etc: string;
  readonly state: string;
  readonly run: string;
  readonly log: string;
  readonly adminToken: string;
  readonly postgresData: string;
  readonly postgresSocketDir: string;
  readonly controlSocket: string;
  readonly supervisorLock: string;
  /** One file per component: identity of its process, so that a later supervisor can adopt it. */
  readonly components: string;
  /** What the last way down could not end, for whoever asked for it. */
  readonly downFailures: string;
  /** What outlives the supervisor: number of hosts. */
  readonly intent: string;
}

/** Linux refuses longer names of unix sockets (sockaddr_un.sun_path, NUL included 108). */
export const maxSocketPath = 107;

export function pathsFor(root: string): Paths {
  const at = (...parts: string[]): string => join(root, ...parts);
  return {
    root,
    etc: at('etc/berth'),
    state: at('var/lib/berth'),
    run: at('run/berth'),
    log: at('var/log/berth'),
    adminToken: at('etc/berth/admin-token'),
    postgresData: at('var/lib/berth/postgres'),
    postgresSocketDir: at('run/berth/postgres'),
    controlSocket: at('run/berth/supervisor.sock'),
    supervisorLock: at('run/berth/supervisor.lock'),
    components: at('run/berth/components'),
    downFailures: at('run/berth/down-failures.json'),
    intent: at('var/lib/berth/supervisor.json'),
  };
}
