import { GuestSessions } from '../guest/guest-sessions.js';
import { QemuMachines } from '../qemu/qemu-machines.js';
import type { QemuMachine } from '../qemu/machine-view.js';
import type { MicrovmRuntimeOptions } from './ports.js';

/** QEMU processes whose guests are asked by their first process: there is no power button that it would hear. */
export class MicrovmMachines extends QemuMachines {
  readonly guests = new GuestSessions((key) => this.agentSocket(key));

  constructor(options: MicrovmRuntimeOptions) {
    super(options, 'berth-microvm');
  }

  override async press(machine: QemuMachine): Promise<void> {
    await this.guests.with(machine, (session) => session.stop());
  }

  override close(): void {
    this.guests.close();
    super.close();
  }
}
