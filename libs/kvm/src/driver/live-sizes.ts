import { faultPoint } from '@berth/faults';
import { sizesIn, type StepContext, type WorkloadHas, type WorkloadSpec } from '@berth/runtime';
import type { Machine, MachineDriver } from './machine-driver.js';
import { guard } from './step-bounds.js';

/** Brings the sizes of a machine that runs to what is asked for. Begins each time with what it has. */
export class LiveSizes<M extends Machine> {
  constructor(private readonly driver: MachineDriver<M>) {}

  /** Called with the instance's lock held. @throws RuntimeError deadline, hostFault */
  async update(
    machine: M,
    spec: WorkloadSpec,
    ctx: StepContext,
  ): Promise<Pick<WorkloadHas, 'sizes' | 'unsettled'>> {
    const { cpuMillis } = await this.driver.limits(machine);
    if (cpuMillis !== spec.cpuMillis) {
      guard(ctx);
      await this.driver.cap(machine, spec.cpuMillis, ctx);
      await faultPoint('vm.cap.set', machine.instanceId);
    }
    const has = await this.driver.limits(machine);
    return { sizes: { ...sizesIn(spec), cpuMillis: has.cpuMillis }, unsettled: [] };
  }
}
