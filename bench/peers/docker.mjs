// Docker Engine over its REST, in a network namespace of its own, so that its bridge and rules go with it.
import { mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { now } from '../measure.mjs';
import { client, isolatedDaemon, unmountBelow, until } from '../programs.mjs';
import { idle } from '../rootfs.mjs';

export const what = 'POST create + POST start + GET says Running';

export async function start(dir, rootfsTar) {
  const root = join(dir, 'docker');
  mkdirSync(root, { recursive: true });
  const socketPath = join(root, 'docker.sock');
  const engine = isolatedDaemon(
    'dockerd',
    [
      ...['--host', `unix://${socketPath}`, '--pidfile', join(root, 'docker.pid'), '--bip', '10.99.8.1/24'],
      ...['--data-root', join(root, 'data'), '--exec-root', join(root, 'exec')],
    ],
    join(dir, 'dockerd.log'),
  );
  const end = async () => {
    await engine.end();
    await unmountBelow(root);
    rmSync(root, { recursive: true, force: true });
  };
  try {
    const call = client({ socketPath });
    const version = await until('the Docker Engine answers', 60_000, () => {
      if (engine.error !== null) throw engine.error;
      return call('GET', '/version');
    });
    const path = '/images/create?fromSrc=-&repo=bench&tag=1';
    await call('POST', path, readFileSync(rootfsTar), 'application/x-tar');
    return { name: `docker ${version.Version}`, end, ...containers(call) };
  } catch (error) {
    await end();
    throw error;
  }
}

function containers(call) {
  const limits = { Memory: 64 << 20, NanoCpus: 5e8, PidsLimit: 4096, NetworkMode: 'bridge' };
  const body = { Image: 'bench:1', Cmd: idle, HostConfig: limits };
  return {
    async run(name) {
      const begun = now();
      await call('POST', `/containers/create?name=${name}`, body);
      await call('POST', `/containers/${name}/start`);
      const { State } = await call('GET', `/containers/${name}/json`);
      const took = now() - begun;
      if (State.Running !== true) throw new Error(`docker: ${name} is ${JSON.stringify(State)}`);
      return took;
    },
    remove: (name) => call('DELETE', `/containers/${name}?force=true&v=true`),
  };
}
