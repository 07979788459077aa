// LXD over its REST, below a directory and in a network namespace of its own.
import { chmodSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { now } from '../measure.mjs';
import { client, isolatedDaemon, run, unmountBelow, until } from '../programs.mjs';
import { idle } from '../rootfs.mjs';

// LXD 5.0 starts in a second operation.
export const what = 'POST instance + wait + PUT start + wait + GET says Running';

export async function start(dir, rootfsTar) {
  const root = join(dir, 'lxd');
  mkdirSync(root, { recursive: true, mode: 0o711 });
  const env = { ...process.env, LXD_DIR: root };
  const server = isolatedDaemon('lxd', ['--group', 'root'], join(dir, 'lxd.log'), env);
  const end = async () => {
    await server.end();
    await unmountBelow(root);
    rmSync(root, { recursive: true, force: true });
  };
  const call = client({ socketPath: join(root, 'unix.socket') });
  const done = async (answer) => {
    if (answer.type !== 'async') return;
    const { metadata } = await call('GET', `${answer.operation}/wait`);
    if (metadata.status_code >= 400) throw new Error(`lxd: ${metadata.description}: ${metadata.err}`);
    return metadata;
  };
  try {
    const { metadata } = await until('LXD answers', 60_000, () => {
      if (server.error !== null) throw server.error;
      return call('GET', '/1.0');
    });
    await prepare(call, done, dir, rootfsTar);
    return { name: `lxd ${metadata.environment.server_version}`, end, ...instances(call, done) };
  } catch (error) {
    await end();
    throw error;
  }
}

function instances(call, done) {
  const config = {
    'limits.memory': '64MiB',
    'limits.cpu.allowance': '50ms/100ms',
    'limits.processes': '4096',
  };
  const request = {
    type: 'container',
    source: { type: 'image', alias: 'bench' },
    profiles: ['default'],
    config,
  };
  return {
    async run(name) {
      const begun = now();
      await done(await call('POST', '/1.0/instances', { name, ...request }));
      await done(await call('PUT', `/1.0/instances/${name}/state`, { action: 'start', timeout: 30 }));
      const { metadata } = await call('GET', `/1.0/instances/${name}/state`);
      const took = now() - begun;
      if (metadata.status !== 'Running') throw new Error(`lxd: ${name} is ${metadata.status}`);
      return took;
    },
    async remove(name) {
      const stop = { action: 'stop', force: true, timeout: 30 };
      await done(await call('PUT', `/1.0/instances/${name}/state`, stop));
      await done(await call('DELETE', `/1.0/instances/${name}`));
    },
  };
}

/** A pool of folders, a bridge with addresses, a profile with both, and the image. */
async function prepare(call, done, dir, rootfsTar) {
  await call('POST', '/1.0/storage-pools', { name: 'bench', driver: 'dir' });
  const addresses = { 'ipv4.address': '10.99.7.1/24', 'ipv4.nat': 'false', 'ipv6.address': 'none' };
  await call('POST', '/1.0/networks', { name: 'benchbr0', type: 'bridge', config: addresses });
  const devices = {
    root: { type: 'disk', path: '/', pool: 'bench' },
    eth0: { type: 'nic', name: 'eth0', network: 'benchbr0' },
  };
  await call('PUT', '/1.0/profiles/default', { config: {}, devices, description: '' });
  const image = await unifiedImage(dir, rootfsTar);
  const made = await done(await call('POST', '/1.0/images', readFileSync(image), 'application/octet-stream'));
  await call('POST', '/1.0/images/aliases', { name: 'bench', target: made.metadata.fingerprint });
}

/** The same root file system with an init that sleeps, as LXD wants its images. */
async function unifiedImage(dir, rootfsTar) {
  const work = join(dir, 'lxd-image');
  mkdirSync(join(work, 'rootfs'), { recursive: true });
  await run('tar', ['-xf', rootfsTar, '-C', join(work, 'rootfs')]);
  mkdirSync(join(work, 'rootfs/sbin'), { recursive: true });
  rmSync(join(work, 'rootfs/sbin/init'), { force: true });
  writeFileSync(join(work, 'rootfs/sbin/init'), `#!/bin/sh\n${idle.at(-1)}\n`);
  chmodSync(join(work, 'rootfs/sbin/init'), 0o755);
  writeFileSync(
    join(work, 'metadata.yaml'),
    'architecture: x86_64\ncreation_date: 1700000000\nproperties: {os: busybox}\n',
  );
  const file = join(dir, 'lxd.tar');
  await run('tar', ['-C', work, '-cf', file, 'metadata.yaml', 'rootfs']);
  rmSync(work, { recursive: true, force: true });
  return file;
}
