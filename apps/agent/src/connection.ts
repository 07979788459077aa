import type { LinkAddress } from '@berth/link';
import { LinkError, dialAgentDoor } from '@berth/link';
import { backoffMs } from './clock.js';
import type { Clock } from './clock.js';
import type { HostIdentity } from './identity.js';
import type { AgentLog } from './log.js';
import { serveSession } from './session.js';
import type { SessionPorts } from './session.js';

export interface ConnectionOptions {
  readonly address: LinkAddress;
  readonly identity: HostIdentity;
  readonly clock: Clock;
  readonly log: AgentLog;
  readonly session: SessionPorts;
}

/** A connection that held this long resets the back-off, milliseconds. */
const heldMs = 2_000;
/** An API that came back is found within this time, milliseconds. */
const dialEveryMs = 4_000;

/** Dials, serves, and dials again until the signal fires. Certificates are renewed on the way. */
export async function keepConnected(o: ConnectionOptions, signal: AbortSignal): Promise<void> {
  void renewInTime(o, signal);
  let attempt = 0;
  while (!signal.aborted) {
    const from = o.clock.now().getTime();
    try {
      if (o.identity.expiresAt <= from) await o.identity.renew(o.address);
      const socket = await dialAgentDoor(o.address, o.identity.link, signal);
      const reason = await serveSession(socket, o.session, signal);
      if (!signal.aborted) o.log.warn({ err: reason }, 'the link to the API ended');
    } catch (err) {
      if (!signal.aborted) o.log.warn({ err, attempt }, 'the API cannot be reached; what runs goes on');
    }
    if (o.clock.now().getTime() - from >= heldMs) attempt = 0;
    await o.clock.sleep(backoffMs(o.clock, attempt++, 100, dialEveryMs), signal);
  }
}

async function renewInTime(o: ConnectionOptions, signal: AbortSignal): Promise<void> {
  let attempt = 0;
  while (!signal.aborted) {
    const left = o.identity.renewAt - o.clock.now().getTime();
    // Timers hold 31 bits of milliseconds, and clocks may jump: look again at least hourly.
    if (left > 0) {
      await o.clock.sleep(Math.min(left, 3_600_000), signal);
      continue;
    }
    try {
      await o.identity.renew(o.address);
      attempt = 0;
      o.log.info({ expiresAt: new Date(o.identity.expiresAt).toISOString() }, 'certificate renewed');
    } catch (err) {
      const refused = err instanceof LinkError && err.code === 'refused';
      o.log.warn({ err, refused }, 'the certificate could not be renewed yet');
      await o.clock.sleep(backoffMs(o.clock, attempt++, 5_000, 600_000), signal);
    }
  }
}
