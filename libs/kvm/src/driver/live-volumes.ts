import { chown } from 'node:fs/promises';
import { setTimeout as wait } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import { faultPoint } from '@berth/faults';
import type { HostVolume, VolumeSeen } from '@berth/model';
import { RuntimeError, type StepContext, type WorkloadSpec } from '@berth/runtime';
import { SCSI_TARGETS } from '../machine/machine-spec.js';
import {
  attachedDisks,
  hasScsi,
  type AttachedDisks,
  type AttachedVolume,
  type PluggedVolume,
} from './attached-disks.js';
import type { Machine, MachineDriver } from './machine-driver.js';
import type { VolumeDisks } from './volume-disks.js';
import { callBounds, guard } from './step-bounds.js';

/** Between two looks at a device that is on its way out. */
const GONE_MS = 20;

/**
 * Brings the disks of a machine that runs to what is asked for: takes away, plugs in, grows, limits. Begins each time
 * with what QEMU says it has, so that an attempt which was cut short is simply gone on with.
 */
export class LiveVolumes<M extends Machine> {
  constructor(
    private readonly driver: MachineDriver<M>,
    private readonly disks: VolumeDisks,
  ) {}

  /** Called with the instance's lock held. @throws RuntimeError noSpace, unsupported, deadline, hostFault */
  async update(machine: M, spec: WorkloadSpec, ctx: StepContext): Promise<VolumeSeen[]> {
    const has = await this.#look(machine, ctx);
    for (const volume of has.volumes) if (!stays(volume, spec)) await this.#detach(machine, volume, ctx);
    const kept = has.volumes.filter((volume): volume is PluggedVolume => stays(volume, spec));
    await this.#grow(machine, spec.rootVolume.sizeMiB, has.rootMiB, null, ctx);
    for (const wanted of spec.volumes) {
      const volume = kept.find(({ volumeId }) => volumeId === wanted.id);
      if (volume === undefined) await this.#attach(machine, spec, wanted, kept, ctx);
      else await this.#change(machine, volume, wanted, ctx);
    }
    const now = await this.#look(machine, ctx);
    return [
      { id: spec.rootVolume.id, sizeMiB: now.rootMiB ?? 0 },
      ...now.volumes.map(({ volumeId, sizeMiB }) => ({ id: volumeId, sizeMiB })),
    ];
  }

  async #look(machine: M, ctx: StepContext): Promise<AttachedDisks> {
    return attachedDisks(await this.driver.monitor(machine), callBounds(ctx));
  }

  async #attach(
    machine: M,
    spec: WorkloadSpec,
    wanted: HostVolume,
    taken: PluggedVolume[],
    ctx: StepContext,
  ): Promise<void> {
    if (!(await hasScsi(await this.driver.monitor(machine), callBounds(ctx))))
      throw new RuntimeError('unsupported', 'it was started without a controller for volumes', {
        remedy: 'restart the instance',
      });
    const target = freeTarget(taken);
    const account = await this.driver.account(spec.rootVolume.id);
    const volume = await this.disks.ready(wanted, target, account, ctx.signal);
    await faultPoint('vm.volume.ready', spec.instanceId);
    guard(ctx);
    await this.driver.attach(machine, volume, ctx);
    await faultPoint('vm.volume.attached', spec.instanceId);
    taken.push({ ...volume, device: '', sizeMiB: wanted.sizeMiB });
  }

  /** Resolves when QEMU has closed its files and nobody but root may open them. */
  async #detach(machine: M, volume: AttachedVolume, ctx: StepContext): Promise<void> {
    await this.driver.detach(machine, volume, ctx);
    await faultPoint('vm.volume.unplugged', machine.instanceId);
    for (;;) {
      const { volumes } = await this.#look(machine, ctx);
      if (!volumes.some(({ volumeId }) => volumeId === volume.volumeId)) break;
      guard(ctx);
      await wait(GONE_MS, undefined, { signal: ctx.signal });
    }
    await this.driver.detached(machine, volume, ctx);
    await chown(this.disks.path(volume.volumeId, volume.format), 0, 0);
    await faultPoint('vm.volume.detached', machine.instanceId);
  }

  async #change(machine: M, volume: PluggedVolume, wanted: HostVolume, ctx: StepContext): Promise<void> {
    await this.#grow(machine, wanted.sizeMiB, volume.sizeMiB, volume, ctx);
    if (isDeepStrictEqual(volume.limits, wanted.limits)) return;
    await this.driver.throttle(machine, volume, wanted.limits, ctx);
    await faultPoint('vm.volume.limited', machine.instanceId);
  }

  /** A disk that is larger already keeps its size. @param volume null for the root disk */
  async #grow(
    machine: M,
    wantedMiB: number,
    hasMiB: number | null,
    volume: PluggedVolume | null,
    ctx: StepContext,
  ): Promise<void> {
    if (hasMiB === null || hasMiB >= wantedMiB) return;
    await this.driver.resize(machine, volume, wantedMiB, ctx);
    await faultPoint('vm.volume.grown', machine.instanceId);
  }
}

/** One that is to be read-only, or no longer, is plugged in anew: a guest knows which only then. */
function stays(volume: AttachedVolume, spec: WorkloadSpec): volume is PluggedVolume {
  if (volume.target === null) return false;
  return spec.volumes.some(({ id, readOnly }) => id === volume.volumeId && readOnly === volume.readOnly);
}

function freeTarget(taken: readonly PluggedVolume[]): number {
  for (let target = 0; target < SCSI_TARGETS; target += 1)
    if (!taken.some((volume) => volume.target === target)) return target;
  throw new RuntimeError('unsupported', `a machine has no more than ${SCSI_TARGETS} volumes`);
}
