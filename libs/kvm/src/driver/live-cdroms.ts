import { setTimeout as wait } from 'node:timers/promises';
import { faultPoint } from '@berth/faults';
import type { StepContext, Unsettled, WorkloadCdrom, WorkloadHas, WorkloadSpec } from '@berth/runtime';
import { attachedCdroms, cdromsSeen, type AttachedCdrom } from './attached-cdroms.js';
import { inspectMedium } from './base-image.js';
import type { Machine, MachineDriver } from './machine-driver.js';
import type { VmRuntimeOptions } from './ports.js';
import { callBounds, guard } from './step-bounds.js';

/** So long a guest is waited for that was asked just now to open its tray, and the time between two looks, ms. */
const GUEST_MS = 5_000;
const LOOK_MS = 20;

type CdromsHad = Required<Pick<WorkloadHas, 'cdroms' | 'unsettled'>>;

/**
 * Brings the media in the drives of a machine that runs to what is asked for. Drives themselves are those of its start. Begins each
 * time with what QEMU says is in them, so that an attempt which was cut short is simply gone on with.
 */
export class LiveCdroms<M extends Machine> {
  constructor(
    private readonly driver: MachineDriver<M>,
    private readonly options: Pick<VmRuntimeOptions, 'blobs'>,
  ) {}

  /** Called with the instance's lock held. @throws RuntimeError imageMissing, badImage, deadline, hostFault */
  async update(machine: M, spec: WorkloadSpec, ctx: StepContext): Promise<CdromsHad> {
    const unsettled: Unsettled[] = [];
    const drives = await this.#look(machine, ctx);
    for (const has of drives) {
      const wanted = spec.cdroms?.[has.drive];
      if (wanted === undefined || has.digest === (wanted.image?.digest ?? null)) continue;
      const medium = wanted.image === null ? null : await inspectMedium(this.options, wanted.image);
      guard(ctx);
      if (!(await this.#change(machine, has, wanted, medium, ctx)))
        unsettled.push({ field: 'cdroms', why: `the guest has locked the tray of drive ${has.drive}` });
    }
    return { cdroms: cdromsSeen(await this.#look(machine, ctx)), unsettled };
  }

  async #look(machine: M, ctx: StepContext): Promise<AttachedCdrom[]> {
    return attachedCdroms(await this.driver.monitor(machine), callBounds(ctx));
  }

  /** Says whether its guest let the tray be opened. */
  async #change(
    machine: M,
    { drive }: AttachedCdrom,
    { force }: WorkloadCdrom,
    medium: string | null,
    ctx: StepContext,
  ): Promise<boolean> {
    await this.driver.openTray(machine, drive, force, ctx);
    await faultPoint('vm.tray.asked', machine.instanceId);
    const isOpen = async (): Promise<boolean> =>
      (await this.#look(machine, ctx)).some((one) => one.drive === drive && one.trayOpen);
    // One that stands still can do nothing.
    const end = performance.now() + (machine.power === 'running' ? GUEST_MS : 0);
    while (!(await isOpen())) {
      if (performance.now() >= end) return false;
      guard(ctx);
      await wait(LOOK_MS, undefined, { signal: ctx.signal });
    }
    await faultPoint('vm.tray.opened', machine.instanceId);
    await this.driver.changeMedium(machine, drive, medium, ctx);
    await faultPoint('vm.medium.changed', machine.instanceId);
    return true;
  }
}
