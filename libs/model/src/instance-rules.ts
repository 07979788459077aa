import { HOST_PASSTHROUGH } from './cpu.js';
import { UEFI_LEAST_MIB } from './firmware.js';
import { checkResources } from './container-resources.js';
import { checkSecurity } from './container-security.js';
import { checkGuestDns } from './guest-dns.js';
import { checkProbes } from './health.js';
import { checkDevices } from './host-device.js';
import { checkHostPaths } from './host-path.js';
import { hugePageMiB } from './huge-pages.js';
import type { InstanceSpec } from './instance.js';
import { layerDiskMiB } from './layer-size.js';
import { checkSecrets } from './secret.js';
import { checkMounts } from './volume-mount.js';
import { portsOf, portText } from './published-port.js';
import { checkSystem } from './system-container.js';

/** Tells of a field that cannot be so, and what would do. */
export type Refuse = (path: readonly (string | number)[], message: string) => void;
type Rule = (spec: InstanceSpec, refuse: Refuse) => void;

/** Least of a microVM, MiB: its kernel boots in so much, and leaves a small program some. */
export const microvmMemoryMiB = 96;

export const noNul = (s: string): boolean => !s.includes('\0');

/** What is told of a field that only a vm has; `one` is "a container" or "a microVM". */
type Told = (one: string) => string;
/** Fields that only a vm has: whether the spec asks for one, and what to do instead. */
const vmFields: readonly (readonly [path: string, asked: (s: InstanceSpec) => boolean, told: Told])[] = [
  ['userData', (s) => s.userData !== undefined, (one) => `use process.env for ${one.slice(2)}s`],
  ['cloudInit', (s) => s.cloudInit !== undefined, (one) => `run programs in ${one} by exec`],
  [
    'watchdog',
    (s) => s.watchdog !== undefined,
    (one) => `${one} that ends is started again by its restart policy`,
  ],
  ['cpu', (s) => s.cpu !== undefined, (one) => `${one} sees the processor that its host gives: leave it out`],
  ['firmware', (s) => s.firmware !== undefined, (one) => `${one} starts without firmware: leave it out`],
  ['tpm', (s) => s.tpm === true, (one) => `${one} has no TPM: leave it out`],
  ['hugePages', (s) => s.hugePages !== undefined, (one) => `${one} has its host's pages: leave it out`],
  ['numa', (s) => s.numa !== undefined, (one) => `${one} has no nodes of its own: leave it out`],
  ['usbTablet', (s) => s.usbTablet !== undefined, (one) => `${one} has no display: leave it out`],
  ['displays', (s) => s.displays !== undefined, (one) => `${one} has no display: leave it out`],
  ['vsock', (s) => s.vsock === true, (one) => `${one} is reached by exec and by its networks: leave it out`],
  [
    'cdroms',
    (s) => s.cdroms !== undefined && s.cdroms.length > 0,
    (one) => `${one} has no drives: leave the list out`,
  ],
  ['snapshots', (s) => s.snapshots !== undefined, (one) => `${one}'s layer has no snapshots; leave it out`],
  [
    'rootDisk.source',
    (s) => s.rootDisk.source !== undefined,
    (one) => `${one}'s layer has no snapshots; leave it out`,
  ],
  ['maxVcpus', (s) => s.maxVcpus !== undefined, () => 'leave it out'],
  [
    'maxMemoryMiB',
    (s) => s.maxMemoryMiB !== undefined,
    () => "leave it out: a container's memory grows without it",
  ],
];

const onlyOfVms: Rule = (s, refuse) => {
  if (s.isolation === 'vm') return;
  const one = s.isolation === 'container' ? 'a container' : 'a microVM';
  for (const [path, asked, told] of vmFields)
    if (asked(s)) refuse(path.split('.'), `only for isolation vm; ${told(one)}`);
};

const microvms: Rule = (s, refuse) => {
  if (s.isolation !== 'microvm') return;
  if (s.placement.driver !== 'any')
    refuse(
      ['placement', 'driver'],
      'only for isolation vm: a host runs every microVM by its own QEMU; leave it out',
    );
  if (s.memoryMiB < microvmMemoryMiB)
    refuse(
      ['memoryMiB'],
      `must be at least ${microvmMemoryMiB} for isolation microvm, whose kernel is in it`,
    );
};

/** What is written to an OCI image is on a file system of its own. */
const layers: Rule = (s, refuse) => {
  if (s.isolation !== 'vm' && s.rootDisk.sizeMiB < layerDiskMiB)
    refuse(
      ['rootDisk', 'sizeMiB'],
      `must be at least ${layerDiskMiB} for isolation ${s.isolation}, whose file system is in it`,
    );
};

const containers: Rule = (s, refuse) => {
  if (s.isolation !== 'container') return;
  if (s.vcpus !== undefined) refuse(['vcpus'], 'containers have no vCPUs; use cpuMillis');
  for (const field of ['accel', 'driver'] as const)
    if (s.placement[field] !== 'any')
      refuse(['placement'], `${field} is only for isolation vm and microvm; leave it out`);
};

/** Processors and memory of a vm. */
const sizes: Rule = (s, refuse) => {
  if (s.maxVcpus !== undefined && s.maxVcpus < (s.vcpus ?? 1))
    refuse(['maxVcpus'], `must be at least vcpus, ${s.vcpus ?? 1}`);
  if (s.maxMemoryMiB !== undefined && s.maxMemoryMiB < s.memoryMiB)
    refuse(['maxMemoryMiB'], `must be at least memoryMiB, ${s.memoryMiB}`);
  if (s.hugePages !== undefined && s.memoryMiB % hugePageMiB[s.hugePages] !== 0)
    refuse(
      ['memoryMiB'],
      `must be a multiple of ${hugePageMiB[s.hugePages]}, which hugePages ${s.hugePages} says`,
    );
  if (s.hugePages !== undefined && s.maxMemoryMiB !== undefined)
    refuse(
      ['maxMemoryMiB'],
      'cannot go with hugePages, all of which a vm has from the start on: leave one out',
    );
};

/** Every node of a vm is like the others: what comes while it runs would be of one of them. */
const numa: Rule = (s, refuse) => {
  const nodes = s.numa?.nodes ?? 1;
  if (nodes === 1) return;
  const multiple = (what: string, value: number, of: number): void => {
    if (value % of !== 0) refuse([what], `must be a multiple of ${of}, for the ${nodes} nodes of numa.nodes`);
  };
  multiple('vcpus', s.vcpus ?? 1, nodes);
  multiple('memoryMiB', s.memoryMiB, nodes * (s.hugePages === undefined ? 1 : hugePageMiB[s.hugePages]));
  for (const field of ['maxVcpus', 'maxMemoryMiB'] as const)
    if (s[field] !== undefined)
      refuse([field], 'cannot go with several numa.nodes, of which each has an equal part: leave one out');
};

const nics: Rule = (s, refuse) => {
  s.nics.forEach(({ network }, i) => {
    if (s.nics.findIndex((nic) => nic.network === network) < i)
      refuse(
        ['nics', i, 'network'],
        `has a nic of this instance already ("${network}"); name another network`,
      );
  });
  const ports = portsOf(s);
  ports.forEach((port, i) => {
    if (ports.findIndex((p) => portText(p) === portText(port)) < i)
      refuse([...port.path, 'hostPort'], `${portText(port)} is published by this instance already`);
  });
};

const volumes: Rule = (s, refuse) => {
  s.volumes.forEach(({ name }, i) => {
    if (s.volumes.findIndex((v) => v.name === name) < i)
      refuse(['volumes', i, 'name'], 'is in the list already');
  });
};

/** What of a vm's shape needs something else of its spec. */
const shape: Rule = (s, refuse) => {
  if (s.cpu?.model === HOST_PASSTHROUGH && s.placement.accel !== 'kvm')
    refuse(
      ['cpu', 'model'],
      'only with placement.accel kvm: emulated, there is nothing to pass through; use max',
    );
  if (s.isolation === 'vm' && (s.displays ?? 1) > 1 && s.placement.driver !== 'qemu')
    refuse(
      ['displays'],
      'more than one only with placement.driver qemu: libvirt gives a machine one VNC server, which shows one screen',
    );
  if (s.firmware?.type === 'uefi' && s.memoryMiB < UEFI_LEAST_MIB)
    refuse(['memoryMiB'], `UEFI firmware needs ${UEFI_LEAST_MIB} MiB at least`);
};

/** No program can be given a NUL. */
const processes: Rule = (s, refuse) => {
  if (s.process === undefined) return;
  if (s.isolation === 'vm') refuse(['process'], 'only for OCI images; use userData for isolation vm');
  for (const field of ['stdin', 'tty'] as const)
    if (s.process[field] === true && (s.isolation === 'microvm' || s.system === true))
      refuse(
        ['process', field],
        `only for programs of isolation container; run one in ${s.isolation === 'microvm' ? 'a microVM' : 'a system'} by exec, and leave it out`,
      );
  for (const field of ['command', 'args', 'env'] as const) {
    const strings = s.process[field] ?? [];
    for (const [key, value] of Object.entries(strings))
      if (!noNul(value))
        refuse(['process', field, Array.isArray(strings) ? Number(key) : key], 'must not contain NUL');
  }
};

const rules: readonly Rule[] = [
  onlyOfVms,
  microvms,
  layers,
  containers,
  sizes,
  numa,
  nics,
  volumes,
  shape,
  processes,
  checkProbes,
  checkSecurity,
  checkDevices,
  checkSystem,
  checkGuestDns,
  checkSecrets,
  checkResources,
  checkMounts,
  checkHostPaths,
];

/** Tells of everything in a spec that does not go together, by field. */
export function checkInstance(spec: InstanceSpec, refuse: Refuse): void {
  for (const rule of rules) rule(spec, refuse);
}
