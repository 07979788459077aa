import type { Host } from '../api/client.js';

export interface IsolationHere {
  readonly isolation: string;
  readonly ok: boolean;
  readonly drivers: readonly string[];
  /** Why not; empty where it can. */
  readonly reason: string;
}

/** Which isolations a host can run, and why not the others. Pure. */
export function isolationsOf(host: Host): IsolationHere[] {
  return Object.entries(host.capabilities?.isolation ?? {}).map(([isolation, can]) => ({
    isolation,
    ok: can.ok,
    drivers: can.drivers,
    reason: can.ok ? '' : (can.reason ?? 'no reason given'),
  }));
}
