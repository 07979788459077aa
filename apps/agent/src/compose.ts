import { mkdir } from 'node:fs/promises';
import { createHash } from 'node:crypto';
import { dirname, join } from 'node:path';
import { createContainerRuntime } from '@berth/containers';
import { BlobStore, LayerStore, RootStore } from '@berth/images';
import {
  AccelProbe,
  QemuAnswers,
  createKvmRuntime,
  createMicrovmRuntime,
  createQemuRuntime,
  HostChoices,
} from '@berth/kvm';
import { listeningPorts, machineUsage, temporariesRemove } from '@berth/linux';
import type { PortOffer } from '@berth/model';
import { HostNetwork, ipv6Missing } from '@berth/network';
import { SimulatedHost, SimulatedRuntime } from '@berth/runtime';
import type { Runtime } from '@berth/runtime';
import { VolumePool } from '@berth/storage';
import type { AgentParts } from './agent.js';
import type { AgentSettings } from './config.js';
import type { AgentLog } from './log.js';

/** The host's real parts: stores, networks and runtimes, each in its own directory below the root. */
export type HostParts = Pick<
  AgentParts,
  | 'runtimes'
  | 'blobs'
  | 'imageStores'
  | 'networks'
  | 'poolMiB'
  | 'machineUsage'
  | 'publishedPorts'
  | 'carriesIpv6'
>;

/** Makes the host's parts. What an earlier agent left half-made in the stores is swept. */
export async function composeHost(settings: AgentSettings, log: AgentLog): Promise<HostParts> {
  const { stateDir, runDir, logDir } = settings;
  for (const dir of [stateDir, runDir, logDir]) await mkdir(dir, { recursive: true, mode: 0o755 });
  await temporariesSweep(settings);
  const blobs = new BlobStore(join(stateDir, 'blobs'));
  await blobs.clean();
  if (settings.runtimes.includes('simulated')) return simulated(settings, blobs);
  const volumes = new VolumePool({ dir: join(stateDir, 'volumes') });
  await volumes.clean();
  const network = new HostNetwork({ stateDir: join(stateDir, 'network'), runDir: join(runDir, 'network') });
  const dirs = (name: string): { stateDir: string; runDir: string; logDir: string } => ({
    stateDir: join(stateDir, name),
    runDir: join(runDir, name),
    logDir: join(logDir, name),
  });
  const hostTag = hostTagOf(settings);
  const runtimes: Runtime[] = [];
  const layers = new LayerStore(join(stateDir, 'layers'), blobs);
  await layers.clean();
  const roots = new RootStore(join(stateDir, 'roots'), layers);
  await roots.clean();
  if (settings.runtimes.includes('oci')) {
    runtimes.push(
      createContainerRuntime({
        ...{ blobs, layers, volumes, network, hostTag, devices: settings.devices, lxcfs: settings.lxcfs },
        ...dirs('containers'),
        hostPaths: settings.hostPaths,
        ownPaths: [settings.stateDir, settings.runDir, settings.logDir, dirname(settings.tokenFile)],
        tell: (message, error) => log.warn({ ...(error === undefined ? {} : { err: error }) }, message),
        initProgram: join(settings.microvmDir, 'init'),
      }),
    );
  }
  const accel = new AccelProbe(join(stateDir, 'accel.json'));
  const qemu = new QemuAnswers(join(stateDir, 'agent', 'qemu-answers.json'));
  const machines = { blobs, volumes, network, hostTag, accel, qemu, choices: new HostChoices(stateDir) };
  // In the order of preference where an instance names no driver.
  if (settings.runtimes.includes('libvirt'))
    runtimes.push(createKvmRuntime({ ...machines, libvirtSocket: settings.libvirtSocket, ...dirs('kvm') }));
  if (settings.runtimes.includes('qemu')) runtimes.push(createQemuRuntime({ ...machines, ...dirs('qemu') }));
  if (settings.runtimes.includes('microvm'))
    runtimes.push(
      createMicrovmRuntime({ ...machines, roots, bootDir: settings.microvmDir, ...dirs('microvm') }),
    );
  const poolMiB = async (): Promise<number> => {
    const used = (await volumes.list()).reduce((sum, volume) => sum + volume.bytes, 0);
    return (await volumes.freeMiB()) + Math.floor(used / 1024 / 1024);
  };
  const imageStores = { blobs, layers, roots, bases: () => volumes.bases() };
  return {
    runtimes,
    blobs,
    imageStores,
    networks: network,
    poolMiB,
    machineUsage: () => machineUsage(stateDir),
    publishedPorts: () => portOffer(settings.publishedPorts),
    carriesIpv6: () => ipv6Missing() === null,
  };
}

/** The configured range, but for what a program of this machine listens on now. */
function portOffer({ first, last }: AgentSettings['publishedPorts']): PortOffer {
  const inRange = (port: string): boolean => {
    const number = Number(port.split('/')[1]);
    return number >= first && number <= last;
  };
  return { first, last, held: listeningPorts().filter(inRange) };
}

/** Records that an earlier agent was writing when it was killed. Disks, layers and mounted roots are not looked into. */
async function temporariesSweep({ stateDir, runDir }: AgentSettings): Promise<void> {
  const records = ['agent', 'network', 'containers', 'kvm', 'qemu', 'microvm'].map((name) =>
    join(stateDir, name),
  );
  const running = ['network', 'qemu', 'microvm'].map((name) => join(runDir, name));
  for (const dir of [...records, ...running]) await temporariesRemove(dir);
}

/** Short, and its own on a machine that carries several hosts. */
function hostTagOf(settings: AgentSettings): string {
  const hash = createHash('sha256').update(`${settings.hostName}\0${settings.stateDir}`).digest('hex');
  return `${settings.hostName.slice(0, 12).replace(/-+$/, '')}-${hash.slice(0, 6)}`;
}

/** No hypervisor: a file stands for the machine. For tests of everything above the runtimes. */
function simulated(settings: AgentSettings, blobs: BlobStore): HostParts {
  const host = new SimulatedHost({
    now: () => new Date(),
    file: join(settings.stateDir, 'simulated-host.json'),
  });
  return {
    runtimes: [new SimulatedRuntime(host)],
    blobs,
    imageStores: { blobs, layers: null, roots: null, bases: () => Promise.resolve(new Set<string>()) },
    networks: null,
    poolMiB: () => Promise.resolve(102_400),
    machineUsage: () => machineUsage(settings.stateDir),
    publishedPorts: () => portOffer(settings.publishedPorts),
    carriesIpv6: () => true,
  };
}
