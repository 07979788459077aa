import { LibvirtRuntime } from './driver/libvirt-runtime.js';
import type { KvmRuntimeOptions, VmRuntimeOptions } from './driver/ports.js';
import { MicrovmRuntime } from './microvm/microvm-runtime.js';
import type { MicrovmRuntimeOptions } from './microvm/ports.js';
import { QemuRuntime } from './qemu/qemu-runtime.js';

/** The VM runtime over this host's libvirtd. `close()` ends its connections; machines run on. */
export function createKvmRuntime(options: KvmRuntimeOptions): LibvirtRuntime {
  return new LibvirtRuntime(options);
}

/** The VM runtime with QEMU processes of our own. `close()` ends its sessions; machines run on. */
export function createQemuRuntime(options: VmRuntimeOptions): QemuRuntime {
  return new QemuRuntime(options);
}

/** The runtime of microVMs: OCI images on kernels of their own, in QEMU processes of ours. */
export function createMicrovmRuntime(options: MicrovmRuntimeOptions): MicrovmRuntime {
  return new MicrovmRuntime(options);
}

export type { LibvirtRuntime, MicrovmRuntime, QemuRuntime };
export type { GuestNetwork, MicrovmRuntimeOptions, RootSource } from './microvm/ports.js';
export type {
  BlobSource,
  DiskVolumes,
  KvmRuntimeOptions,
  NicAttacher,
  VmRuntimeOptions,
} from './driver/ports.js';
export { AccelProbe } from './accel/accel-probe.js';
export { QemuAnswers } from './accel/qemu-answers.js';
export { HostChoices } from './driver/host-choices.js';
export { accelFacts, type AccelFacts } from './accel/host-facts.js';
export { LibvirtClient, type LibvirtClientOptions } from './libvirt/client.js';
export { LibvirtConnectionError, LibvirtError } from './libvirt/errors.js';
export {
  libvirtdConfig,
  qemuConfig,
  renderConfig,
  virtlogdConfig,
  type Config,
  type DaemonConfigOptions,
} from './libvirt/daemon-config.js';
export { QmpClient } from './qmp/client.js';
