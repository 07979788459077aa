import type { WorkloadKey } from '@berth/runtime';
import type { VmRuntimeOptions } from '../driver/ports.js';
import { VmRuntime } from '../driver/vm-runtime.js';
import type { QmpExecutor } from '../qmp/commands.js';
import type { QemuMachine } from './machine-view.js';
import { QemuMachines } from './qemu-machines.js';

/** Virtual machines in QEMU processes of our own, for hosts without libvirtd. They run on when this object goes. */
export class QemuRuntime extends VmRuntime<QemuMachine> {
  readonly #machines: QemuMachines;

  constructor(options: VmRuntimeOptions) {
    const machines = new QemuMachines(options);
    super(machines, options);
    this.#machines = machines;
  }

  /** QMP of a running machine. @throws RuntimeError notPrepared when it does not run. */
  async monitor(key: WorkloadKey): Promise<QmpExecutor> {
    return this.#machines.monitor(await this.running(key));
  }
}
