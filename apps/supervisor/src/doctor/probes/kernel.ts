import { closeSync, existsSync, openSync } from 'node:fs';
import { mkdir, mkdtemp, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { release } from 'node:os';
import { join } from 'node:path';
import {
  idmappedMount,
  isCapable,
  loopAttach,
  mounts,
  numaNodes,
  run,
  umountAll,
  userNamespaceCreate,
  vsockRefusal,
} from '@berth/linux';
import type { Paths } from '../../paths.js';
import type { KernelFindings } from '../kernel.js';
import { attempt, existing, read, readNumber } from './attempt.js';

export async function kernelFindings(paths: Paths): Promise<KernelFindings> {
  const trial = await mkdtemp(join(existing(paths.state), '.berth-doctor-'));
  try {
    const [overlayfs, loopDevices, userNamespaces, idmappedMounts, links, tun, nftables, masquerade, lxcfs] =
      await Promise.all([
        attempt(() => overlayTry(trial)),
        attempt(() => loopTry(trial)),
        attempt(() => run('unshare', ['--user', '--map-root-user', 'true'])),
        attempt(() => idmapTry(trial)),
        attempt(linksTry),
        attempt(tunTry),
        attempt(() => nftTry({ add: { table: { family: 'inet', name: 'berth_doctor' } } })),
        attempt(masqueradeTry),
        attempt(lxcfsTry),
      ]);
    return {
      ...{ overlayfs, loopDevices, userNamespaces, idmappedMounts, links, tun, nftables, masquerade, lxcfs },
      ...cgroupFacts(),
      ...facts(),
      growsMounted: isCapable('sys_resource'),
    };
  } finally {
    await rm(trial, { recursive: true, force: true });
  }
}

function facts() {
  const appArmor = read('/sys/module/apparmor/parameters/enabled')?.trim();
  return {
    kernel: release(),
    seccompActions: read('/proc/sys/kernel/seccomp/actions_avail')?.trim().split(' ') ?? null,
    userNamespacesMax: readNumber('/proc/sys/user/max_user_namespaces'),
    vhostNet: existsSync('/dev/vhost-net'),
    vhostVsock: vsockRefusal(),
    numaNodes: numaNodes().length,
    hugePages: readNumber('/proc/sys/vm/nr_hugepages') ?? 0,
    appArmor:
      appArmor === undefined
        ? ('notInKernel' as const)
        : appArmor === 'Y'
          ? ('enforces' as const)
          : ('off' as const),
  };
}

function cgroupFacts(): Pick<KernelFindings, 'cgroup' | 'controllers' | 'swapAccounting'> {
  const hasSwap = (read('/proc/swaps') ?? '').trim().split('\n').length > 1;
  const v2 = read('/sys/fs/cgroup/cgroup.controllers');
  if (v2 !== null)
    return { cgroup: 'v2', controllers: v2.trim().split(' '), swapAccounting: hasSwap ? true : null };
  const trees = mounts().filter((m) => m.type === 'cgroup');
  const memory = trees.find((m) => m.superOptions.includes('memory'));
  const bounded = memory !== undefined && existsSync(join(memory.target, 'memory.memsw.limit_in_bytes'));
  const unified = mounts().some((m) => m.type === 'cgroup2');
  return {
    cgroup: trees.length === 0 ? 'none' : unified ? 'hybrid' : 'v1',
    controllers: trees.flatMap((m) => m.superOptions),
    swapAccounting: hasSwap ? bounded : null,
  };
}

async function overlayTry(dir: string): Promise<void> {
  for (const d of ['lower', 'upper', 'work', 'merged'])
    await mkdir(join(dir, 'overlay', d), { recursive: true });
  const at = (d: string): string => join(dir, 'overlay', d);
  const options = `lowerdir=${at('lower')},upperdir=${at('upper')},workdir=${at('work')}`;
  // In a mount namespace that ends with the command, so nothing stays mounted.
  await run('unshare', ['--mount', 'mount', '-t', 'overlay', '-o', options, 'overlay', at('merged')]);
}

async function loopTry(dir: string): Promise<void> {
  const file = join(dir, 'loop');
  await writeFile(file, '');
  await truncate(file, 2 ** 20);
  loopAttach(file, 'berth-doctor').close();
}

async function lxcfsTry(): Promise<void> {
  await run('lxcfs', ['--version']);
  closeSync(openSync('/dev/fuse', 'r+'));
}

const TRIAL_ID = 0x0ffe_0000;

/** A file of root's must be seen as another's through an idmapped mount of the file system that holds the layers. */
async function idmapTry(dir: string): Promise<void> {
  const [layer, seen] = [join(dir, 'layer'), join(dir, 'seen')];
  await Promise.all([mkdir(layer), mkdir(seen)]);
  await writeFile(join(layer, 'file'), '');
  const map = [{ inside: 0, outside: TRIAL_ID, count: 1 }];
  const namespace = await userNamespaceCreate(map, map);
  try {
    idmappedMount(layer, seen, namespace.fd, { readOnly: true });
    if ((await stat(join(seen, 'file'))).uid !== TRIAL_ID) throw new Error('owners are not shifted');
  } finally {
    umountAll(seen);
    namespace.close();
  }
}

/** In a network namespace that ends with the command. */
const inNetns = (command: string, args: readonly string[], input?: string): Promise<unknown> =>
  run('unshare', ['--net', command, ...args], input === undefined ? {} : { input });

async function linksTry(): Promise<void> {
  await inNetns('ip', ['link', 'add', 'b0', 'type', 'bridge']);
  await inNetns('ip', ['link', 'add', 'v0', 'type', 'veth', 'peer', 'name', 'v1']);
}

async function tunTry(): Promise<void> {
  await inNetns('ip', ['tuntap', 'add', 'dev', 't0', 'mode', 'tap']);
}

function nftTry(...commands: readonly object[]): Promise<unknown> {
  return inNetns('nft', ['-j', '-f', '-'], JSON.stringify({ nftables: commands }));
}

/** The chain and the rule by which guests reach beyond their network: modules of their own in the kernel. */
function masqueradeTry(): Promise<unknown> {
  const at = { family: 'inet', table: 'berth_doctor' };
  const hook = { type: 'nat', hook: 'postrouting', prio: 100, policy: 'accept' };
  return nftTry(
    { add: { table: { family: 'inet', name: 'berth_doctor' } } },
    { add: { chain: { ...at, name: 'out', ...hook } } },
    { add: { rule: { ...at, chain: 'out', expr: [{ masquerade: null }] } } },
  );
}
