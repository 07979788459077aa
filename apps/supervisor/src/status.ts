import { controlAsk } from './control.js';
import type { FleetStatus } from './fleet.js';
import type { Paths } from './paths.js';
import { span, table } from './table.js';

/** Prints what runs. Exit code: 0 everything serves, 1 something does not, 3 Berth is not running. */
export async function statusCommand(paths: Paths, json: boolean): Promise<number> {
  const status = await controlAsk(paths.controlSocket, 'GET', '/status');
  if (json)
    process.stdout.write(`${JSON.stringify(status ?? { up: false, step: 'not running', components: [] })}\n`);
  else
    process.stdout.write(
      status === null ? 'Berth is not running. Start it with ./berth up\n' : statusText(status, Date.now()),
    );
  return status === null ? 3 : status.up ? 0 : 1;
}

export function statusText(status: FleetStatus, now: number): string {
  const rows = status.components.map((c) => [
    c.name,
    c.state,
    c.pid === null ? '-' : String(c.pid),
    c.since === null || c.pid === null ? '-' : span(now - Date.parse(c.since)),
    String(c.restarts),
    [c.address ?? '', c.message].filter((t) => t !== '').join('  '),
  ]);
  const head = ['COMPONENT', 'STATE', 'PID', 'UPTIME', 'RESTARTS', 'WHERE'];
  const first = status.up
    ? `Berth is up with ${status.hosts} host(s). API: ${status.api}\nDashboard: ${status.api}/ui/ (./berth sign-in gives a code for it)`
    : `Berth is not up: ${status.step}`;
  return `${first}\n\n${table(head, rows)}\n`;
}
