import type { WorkloadKey } from '@berth/runtime';
import { LibvirtMachines, type OwnDomain } from './libvirt-machines.js';
import type { LibvirtMonitor } from './libvirt-monitor.js';
import type { KvmRuntimeOptions } from './ports.js';
import { VmRuntime } from './vm-runtime.js';

/** Virtual machines through this host's libvirtd. Their life belongs to libvirt: this object may come and go. */
export class LibvirtRuntime extends VmRuntime<OwnDomain> {
  readonly #machines: LibvirtMachines;

  constructor(options: KvmRuntimeOptions) {
    const machines = new LibvirtMachines(options);
    super(machines, options);
    this.#machines = machines;
  }

  /** QMP of a running machine, through libvirt. @throws RuntimeError notPrepared when it does not run. */
  async monitor(key: WorkloadKey): Promise<LibvirtMonitor> {
    return this.#machines.monitor(await this.running(key));
  }
}
