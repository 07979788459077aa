import { bad, ok, type Check } from './check.js';

export interface ServiceFindings {
  /** Null when a server can be used, else why not. */
  readonly postgres: string | null;
  readonly libvirt: 'answers' | 'absent' | 'notInstalled';
  readonly running: boolean;
  /** Port and what holds it. */
  readonly portsTaken: readonly { readonly port: number; readonly key: string; readonly reason: string }[];
}

export function serviceChecks(f: ServiceFindings): Check[] {
  const libvirt = {
    answers: ok('libvirt daemon', 'answers'),
    absent: ok('libvirt daemon', 'none runs; Berth starts its own'),
    notInstalled: bad('fail', 'libvirt daemon', 'not installed', 'apt-get install libvirt-daemon-system'),
  }[f.libvirt];
  return [
    f.postgres === null
      ? ok('postgres', 'usable')
      : bad('fail', 'postgres', f.postgres, 'apt-get install postgresql-15, or set DATABASE_URL'),
    libvirt,
    ...portChecks(f),
  ];
}

function portChecks(f: ServiceFindings): Check[] {
  if (f.running) return [ok('ports', 'in use by Berth, which is running')];
  if (f.portsTaken.length === 0) return [ok('ports', 'free')];
  return f.portsTaken.map((p) =>
    bad('fail', `port ${p.port}`, p.reason, `end what listens there (ss -ltnp), or set another ${p.key}`),
  );
}
