import { setTimeout as wait } from 'node:timers/promises';
import { faultPoint } from '@berth/faults';
import {
  sizesIn,
  type StepContext,
  type Unsettled,
  type WorkloadHas,
  type WorkloadKey,
  type WorkloadSpec,
} from '@berth/runtime';
import { plugRequest } from '../machine/machine-spec.js';
import type { Machine, MachineDriver } from './machine-driver.js';
import { plugSeen } from './memory-plug.js';
import { callBounds, guard } from './step-bounds.js';
import { vcpusSeen, type VcpusSeen } from './vcpu-plug.js';

const MIB = 2 ** 20;
/** So long a guest is waited for that was asked just now, and the time between two looks, ms. */
const GUEST_MS = 3_000;
const LOOK_MS = 20;
/**
 * QEMU 7.2 keeps the address spaces of an emulated processor that left, and frees its parts a second time at the next change of
 * the machine's memory map: a disk that comes, a suspend. Under KVM it has no such address spaces.
 */
const EMULATED = 'emulated (TCG), it keeps its processors: QEMU would crash after one left; restart it';

/** Brings the sizes of a machine that runs to what is asked for. Begins each time with what it has. */
export class LiveSizes<M extends Machine> {
  /** @param processorsCame has the guest use the processors that it was given, so many in all; never rejects */
  constructor(
    private readonly driver: MachineDriver<M>,
    private readonly processorsCame: (key: WorkloadKey, vcpus: number, signal: AbortSignal) => Promise<void>,
  ) {}

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
    const processors = await this.#vcpus(machine, spec, ctx);
    const memory = await this.#memory(machine, spec, ctx);
    const has = await this.driver.limits(machine);
    const sizes = {
      ...sizesIn(spec),
      ...{ vcpus: processors.has, cpuMillis: has.cpuMillis, memoryMiB: memory.has },
    };
    return { sizes, unsettled: [...processors.unsettled, ...memory.unsettled] };
  }

  async #vcpus(machine: M, spec: WorkloadSpec, ctx: StepContext): Promise<Brought> {
    const qmp = await this.driver.monitor(machine);
    const look = (): Promise<VcpusSeen> => vcpusSeen(qmp, callBounds(ctx));
    const had = await look();
    const wanted = Math.max(had.boot, Math.min(had.most, spec.vcpus));
    if (wanted < had.now && machine.power !== 'running')
      return keeps('vcpus', had.now, 'it is paused, and only a guest that runs lets go of processors');
    if (wanted < had.now && !(await qmp.execute('query-kvm', undefined, callBounds(ctx))).enabled)
      return keeps('vcpus', had.now, EMULATED);
    if (wanted !== had.now) {
      guard(ctx);
      await this.driver.plugVcpus(machine, wanted, ctx);
      await faultPoint('vm.vcpus.asked', machine.instanceId);
      await until(async () => (await look()).now === wanted, ctx);
      if (machine.power === 'running' && had.now < wanted)
        await this.processorsCame(machine, wanted, ctx.signal);
    }
    const { now } = await look();
    if (now === spec.vcpus) return { has: now, unsettled: [] };
    if (now !== wanted) return keeps('vcpus', now, `its guest uses ${now} processors`);
    return keeps('vcpus', now, `it was started for ${had.boot} to ${had.most} processors`);
  }

  async #memory(machine: M, spec: WorkloadSpec, ctx: StepContext): Promise<Brought> {
    const qmp = await this.driver.monitor(machine);
    const { 'base-memory': boot } = await qmp.execute(
      'query-memory-size-summary',
      undefined,
      callBounds(ctx),
    );
    const bootMiB = boot / MIB;
    const plug = await plugSeen(qmp, callBounds(ctx));
    if (plug === null)
      return spec.memoryMiB === bootMiB
        ? { has: bootMiB, unsettled: [] }
        : keeps('memoryMiB', bootMiB, 'it was started without a device for more');
    const wantedMiB = Math.min(plug.sizeMiB, plugRequest(bootMiB, spec.memoryMiB));
    if (plug.requestedMiB !== wantedMiB) {
      guard(ctx);
      await this.driver.plugMemory(machine, wantedMiB, ctx);
      await faultPoint('vm.memory.asked', machine.instanceId);
      // One that stands still can do nothing.
      if (machine.power === 'running')
        await until(async () => (await plugSeen(qmp, callBounds(ctx)))?.usedMiB === wantedMiB, ctx);
    }
    const { usedMiB } = (await plugSeen(qmp, callBounds(ctx))) ?? plug;
    if (usedMiB === wantedMiB) return { has: spec.memoryMiB, unsettled: [] };
    return keeps('memoryMiB', bootMiB + usedMiB, `its guest uses ${bootMiB + usedMiB} MiB`);
  }
}

/** What a machine has of one size after it was brought to it, as far as that went. */
interface Brought {
  readonly has: number;
  readonly unsettled: readonly Unsettled[];
}

const keeps = (field: Unsettled['field'], has: number, why: string): Brought => ({
  has,
  unsettled: [{ field, why }],
});

/** Waits a moment for the guest to do as it was asked. What it does later is seen later. */
async function until(done: () => Promise<boolean>, ctx: StepContext): Promise<void> {
  const end = performance.now() + GUEST_MS;
  while (performance.now() < end && !(await done())) {
    guard(ctx);
    await wait(LOOK_MS, undefined, { signal: ctx.signal });
  }
}
