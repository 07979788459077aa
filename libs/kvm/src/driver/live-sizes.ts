import { setTimeout as wait } from 'node:timers/promises';
import { faultPoint } from '@berth/faults';
import {
  sizesIn,
  type StepContext,
  type Unsettled,
  type WorkloadHas,
  type WorkloadSpec,
} from '@berth/runtime';
import { plugRequest } from '../machine/machine-spec.js';
import type { Machine, MachineDriver } from './machine-driver.js';
import { plugSeen, type PlugSeen } from './memory-plug.js';
import { callBounds, guard } from './step-bounds.js';

const MIB = 2 ** 20;
/** So long a guest is waited for that was asked just now, and the time between two looks, ms. */
const GUEST_MS = 3_000;
const LOOK_MS = 20;

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
    const memory = await this.#memory(machine, spec, ctx);
    const has = await this.driver.limits(machine);
    const sizes = { ...sizesIn(spec), cpuMillis: has.cpuMillis, memoryMiB: memory.hasMiB };
    return { sizes, unsettled: memory.unsettled };
  }

  async #memory(
    machine: M,
    spec: WorkloadSpec,
    ctx: StepContext,
  ): Promise<{ readonly hasMiB: number; readonly unsettled: readonly Unsettled[] }> {
    const qmp = await this.driver.monitor(machine);
    const { 'base-memory': boot } = await qmp.execute(
      'query-memory-size-summary',
      undefined,
      callBounds(ctx),
    );
    const bootMiB = boot / MIB;
    const plug = await plugSeen(qmp, callBounds(ctx));
    const refused = (hasMiB: number, why: string) => ({
      hasMiB,
      unsettled: [{ field: 'memoryMiB', why } as const],
    });
    if (plug === null)
      return spec.memoryMiB === bootMiB
        ? { hasMiB: bootMiB, unsettled: [] }
        : refused(bootMiB, 'it was started without a device for more');
    const wantedMiB = Math.min(plug.sizeMiB, plugRequest(bootMiB, spec.memoryMiB));
    if (plug.requestedMiB !== wantedMiB) {
      guard(ctx);
      await this.driver.plugMemory(machine, wantedMiB, ctx);
      await faultPoint('vm.memory.asked', machine.instanceId);
      // One that stands still can do nothing.
      if (machine.power === 'running') await this.#settled(machine, wantedMiB, ctx);
    }
    const { usedMiB } = (await plugSeen(qmp, callBounds(ctx))) ?? plug;
    if (usedMiB === wantedMiB) return { hasMiB: spec.memoryMiB, unsettled: [] };
    return refused(bootMiB + usedMiB, `its guest uses ${bootMiB + usedMiB} MiB`);
  }

  /** Waits a moment for the guest to do as it was asked. What it does later is seen later. */
  async #settled(machine: M, wantedMiB: number, ctx: StepContext): Promise<void> {
    const end = performance.now() + GUEST_MS;
    const look = async (): Promise<PlugSeen | null> =>
      plugSeen(await this.driver.monitor(machine), callBounds(ctx));
    while (performance.now() < end && (await look())?.usedMiB !== wantedMiB) {
      guard(ctx);
      await wait(LOOK_MS, undefined, { signal: ctx.signal });
    }
  }
}
