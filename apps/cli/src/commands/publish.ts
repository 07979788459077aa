import type { Schemas } from '@berth/client';
import { exitCodes, Failure } from '../failure.js';
import { type WaitOptions, waiting } from '../operation.js';
import { examples, wholeNumber, type Commands } from '../session.js';
import { requireNic, nicsChange } from '../spec-change.js';

type Nics = Schemas['Instance']['spec']['nics'];
type Port = NonNullable<Nics[number]['ports']>[number];
type Asked = Pick<Port, 'protocol' | 'hostPort'>;

export const publishCommands: Commands = (program, session) => {
  const publish = waiting(program.command('publish <instance> <port...>'))
    .description("have an instance's host answer for ports of it: hostPort:guestPort, with /udp for UDP")
    .option('--nic <number>', 'nic that gets it, from 0', (t) => wholeNumber('--nic', t), 0)
    .action(async (name: string, texts: string[], options: WaitOptions & { nic: number }) => {
      const ports = texts.map(portOf);
      await nicsChange(session(), name, options, (nics) => {
        requireNic(name, nics, options.nic);
        const kept = without(nics, ports);
        return kept.map((nic, i) =>
          i === options.nic ? { ...nic, ports: [...(nic.ports ?? []), ...ports] } : nic,
        );
      });
    });
  examples(publish, 'berth publish web 8080:80\nberth publish web 8080:80 5353:53/udp');
  const unpublish = waiting(program.command('unpublish <instance> <port...>'))
    .description('no longer have the host answer for ports: hostPort, with /udp for UDP')
    .action(async (name: string, texts: string[], options: WaitOptions) => {
      const ports = texts.map(hostPortOf);
      await nicsChange(session(), name, options, (nics) => {
        const has = nics.flatMap((nic) => nic.ports ?? []);
        const missing = ports.find((port) => !has.some((p) => same(p, port)));
        if (missing === undefined) return without(nics, ports);
        const list = has.map((p) => `${p.hostPort}/${p.protocol}`).join(', ') || 'none';
        const what = `${name} does not publish ${missing.hostPort}/${missing.protocol}`;
        throw new Failure(`${what}\n  -> It publishes: ${list}`, exitCodes.notFound);
      });
    });
  examples(unpublish, 'berth unpublish web 8080');
};

function portOf(text: string): Port {
  const found = /^(\d{1,5}):(\d{1,5})(?:\/(tcp|udp))?$/.exec(text);
  if (found === null)
    throw new Failure(
      `"${text}" is no port to publish\n  -> Write hostPort:guestPort, as in 8080:80 or 5353:53/udp`,
      exitCodes.usage,
    );
  return {
    protocol: found[3] === 'udp' ? 'udp' : 'tcp',
    hostPort: Number(found[1]),
    guestPort: Number(found[2]),
  };
}

function hostPortOf(text: string): Asked {
  const found = /^(\d{1,5})(?:\/(tcp|udp))?$/.exec(text);
  if (found === null)
    throw new Failure(
      `"${text}" is no port of a host\n  -> Write the host's port, as in 8080 or 5353/udp`,
      exitCodes.usage,
    );
  return { protocol: found[2] === 'udp' ? 'udp' : 'tcp', hostPort: Number(found[1]) };
}

const same = (a: Asked, b: Asked): boolean => a.protocol === b.protocol && a.hostPort === b.hostPort;

/** A nic that is left without ports is as it was before it had any. */
function without(nics: Nics, ports: readonly Asked[]): Nics {
  return nics.map(({ ports: has = [], ...nic }) => {
    const kept = has.filter((p) => !ports.some((q) => same(p, q)));
    return kept.length === 0 ? nic : { ...nic, ports: kept };
  });
}
