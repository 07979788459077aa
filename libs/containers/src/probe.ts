import { mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { faultPoint } from '@berth/faults';
import {
  cgroupProcessors,
  cgroupVersion,
  CommandError,
  detectCgroups,
  diskHeedsWeights,
  namesIn,
  run,
} from '@berth/linux';
import type { HostPathOffer, VolumeId } from '@berth/model';
import type { RuntimeProbe } from '@berth/runtime';
import { layerClose, layerMake, layerOpen } from '@berth/storage';
import { devicesThere } from './isolation/devices.js';
import { swapAccounting } from './isolation/cgroup-trees.js';
import { hostPathRoom, hostPathsThere } from './isolation/host-paths.js';
import { namespacesEnsure, namespacesRemove, withUserNamespace } from './isolation/namespaces.js';
import { passable, rootfsMount, rootfsUnmount, scratchClear } from './isolation/rootfs.js';
import { SECCOMP_PROFILE, seccompProfileRead } from './isolation/seccomp.js';
import { ociProgramFind } from './launch/launcher-find.js';
import { programFind } from './launch/programs.js';
import type { ContainerRuntimeOptions } from './ports.js';

/** Outside of every range that is given to a container. */
const PROBE_BASE = 0x0fff_0000;

const PROBE_MIB = 16;
/** Of no volume. */
const PROBE_VOLUME = '00000000-0000-4000-8000-000000000000' as VolumeId;

/** Of the names of what a probe makes. */
const PREFIX = '.probe-';

/** Measures what containers need here: programs, cgroups, seccomp profile, and one real idmapped overlay mount on a writable layer of its own. */
export async function probe(
  options: ContainerRuntimeOptions,
  facets: readonly string[],
): Promise<RuntimeProbe> {
  try {
    const cgroup = detectCgroups();
    const oci = ociProgramFind();
    const conmon = programFind('conmon');
    if (oci === null)
      return refused(cgroup === 'v2' ? 'crun or runc is not installed' : 'runc is not installed');
    if (conmon === null) return refused('conmon is not installed');
    const versions = { [basename(oci)]: await version(oci), conmon: await version(conmon) };
    await seccompProfileRead(options.seccompProfile ?? SECCOMP_PROFILE);
    passable(options.runDir);
    const hostPaths = await tryOverlay(options);
    const processors = await cgroupProcessors();
    const facts = {
      ...{ cgroup, versions, devices: devicesThere(options.devices ?? {}), hostPaths },
      ...(processors === null ? {} : { processors }),
    };
    return { ok: true, reason: null, facets: [...facets, ...boundFacets(options)], facts };
  } catch (error) {
    const said = error instanceof CommandError ? error.stderr.trim() : '';
    return refused(said || (error instanceof Error ? error.message : String(error)));
  }
}

/** Bounds that not every kernel has. */
function boundFacets({ stateDir }: ContainerRuntimeOptions): string[] {
  const disks = cgroupVersion('blkio') ?? cgroupVersion('io');
  return [
    ...(disks === null ? [] : ['ioLimits']),
    ...(disks !== null && diskHeedsWeights(stateDir) ? ['ioWeight'] : []),
    ...(cgroupVersion('memory') === 2 ? ['memoryHigh'] : []),
    ...(swapAccounting() ? ['swap'] : []),
  ];
}

function refused(reason: string): RuntimeProbe {
  return { ok: false, reason, facets: [], facts: {} };
}

async function version(program: string): Promise<string> {
  const { stdout } = await run(program, ['--version'], { timeoutMs: 10_000 });
  return /version:? (\S+)/.exec(stdout)?.[1] ?? stdout.split('\n', 1)[0] ?? '';
}

/** What one probe leaves on the host while it goes on. */
interface Traces {
  readonly state: string;
  readonly mountPoint: string;
}

const namespacesOf = ({ state }: Traces) => ({ user: join(state, 'user'), network: join(state, 'net') });
const targetOf = ({ mountPoint }: Traces): string => join(mountPoint, 'rootfs');

/**
 * A file of root's in a layer must appear as owned by the probe's range, and the writable layer must take a new one.
 * Says which directories of the host can be lent. One at a time: what is found of another was left by an agent that was killed in it.
 */
async function tryOverlay(options: ContainerRuntimeOptions): Promise<HostPathOffer[]> {
  const roots = join(options.runDir, 'roots');
  mkdirSync(roots, { recursive: true, mode: 0o711 });
  for (const name of new Set([...namesIn(options.stateDir), ...namesIn(roots)]))
    if (name.startsWith(PREFIX))
      sweep({ state: join(options.stateDir, name), mountPoint: join(roots, name) });
  const state = mkdtempSync(join(options.stateDir, PREFIX));
  const traces: Traces = { state, mountPoint: join(roots, basename(state)) };
  try {
    mkdirSync(traces.mountPoint, { mode: 0o700 });
    const [layer, volume] = [join(state, 'layer'), volumeOf(traces)];
    for (const directory of [layer, volume]) mkdirSync(directory);
    await layerMake(volume, PROBE_MIB);
    const { upper, work } = await layerOpen(PROBE_VOLUME, volume, PROBE_MIB);
    writeFileSync(join(layer, 'file'), 'probe');
    const namespaces = namespacesOf(traces);
    await namespacesEnsure(namespaces, PROBE_BASE);
    await faultPoint('oci.probe.namespaces.made', PREFIX);
    const target = targetOf(traces);
    const scratch = scratchOf(traces);
    rootfsMount({ target, scratch, layers: [layer], upper, work, base: PROBE_BASE, namespaces });
    await faultPoint('oci.probe.mounted', PREFIX);
    if (statSync(join(target, 'file')).uid !== PROBE_BASE)
      throw new Error('idmapped mounts do not shift owners here');
    writeFileSync(join(target, 'new'), 'probe');
    return withUserNamespace(namespaces, (fd) => offered(options, fd));
  } finally {
    sweep(traces);
  }
}

/** What of the operator's list can be mounted now; of the others it is told why not. */
function offered(options: ContainerRuntimeOptions, userNamespace: number): HostPathOffer[] {
  const { offers, faults } = hostPathsThere(hostPathRoom(options), userNamespace);
  for (const why of faults.values()) options.tell?.(`not offered to containers: ${why}`);
  return offers;
}

const volumeOf = ({ state }: Traces): string => join(state, 'volume');
const scratchOf = ({ state }: Traces): string => join(state, 'scratch');

function sweep(traces: Traces): void {
  rootfsUnmount(targetOf(traces));
  layerClose(volumeOf(traces));
  scratchClear(scratchOf(traces));
  namespacesRemove(namespacesOf(traces));
  rmSync(traces.state, { recursive: true, force: true });
  rmSync(traces.mountPoint, { recursive: true, force: true });
}
