import { setTimeout as wait } from 'node:timers/promises';
import { faultPoint } from '@berth/faults';
import type { NicId } from '@berth/model';
import {
  RuntimeError,
  type StepContext,
  type Unsettled,
  type WorkloadHas,
  type WorkloadKey,
  type WorkloadNic,
  type WorkloadSpec,
} from '@berth/runtime';
import { attachedNics, type AttachedNic, type AttachedNics } from './attached-nics.js';
import type { Machine, MachineDriver } from './machine-driver.js';
import type { NicAttacher } from './ports.js';
import { callBounds, guard } from './step-bounds.js';

/** So long a guest is waited for that was asked just now to let go of a nic, and the time between two looks, ms. */
const GUEST_MS = 5_000;
const LOOK_MS = 20;

type NicsHad = Required<Pick<WorkloadHas, 'nics' | 'unsettled'>>;

/**
 * Brings the nics of a machine that runs to what is asked for. A nic is there as long as its device is, by QEMU's word,
 * or its tap, by the host's: the tap is made first and goes last, so an attempt that was cut short is gone on with.
 */
export class LiveNics<M extends Machine> {
  constructor(
    private readonly driver: MachineDriver<M>,
    private readonly network: NicAttacher,
  ) {}

  /** Called with the instance's lock held. @throws RuntimeError deadline, hostFault */
  async update(machine: M, spec: WorkloadSpec, ctx: StepContext): Promise<NicsHad> {
    const wanted = new Set(spec.nics.map(({ id }) => id));
    const unsettled: Unsettled[] = [];
    const note = (why: string): unknown => unsettled.push({ field: 'nics', why });
    const has = await this.#look(machine, ctx);
    const taps = await tapsOf(spec, this.network);
    if (has === null) {
      const extra = taps.filter(({ nicId }) => !wanted.has(nicId));
      // Its guest keeps the device, through which nothing passes.
      for (const { nicId } of extra) await this.network.silence(machine, nicId);
      if (extra.length > 0 || taps.length < wanted.size) note('it was started without slots for nics');
      return { nics: taps.map(({ nicId }) => nicId), unsettled };
    }
    const leaving = new Set([...has.nics, ...taps].map(({ nicId }) => nicId).filter((id) => !wanted.has(id)));
    for (const nicId of leaving) {
      const nic = has.nics.find((one) => one.nicId === nicId);
      if (nic === undefined || (await this.#unplug(machine, nic, ctx))) await this.#drop(machine, nicId, ctx);
      else note(`its guest has not let go of nic ${macOf(taps, nicId)}`);
    }
    let now = leaving.size === 0 ? has : ((await this.#look(machine, ctx)) ?? has);
    for (const nic of spec.nics) {
      if (now.nics.some(({ nicId }) => nicId === nic.id)) continue;
      if (!(await this.#plug(machine, spec, nic, now, ctx))) note(`it has no slot for nic ${nic.mac}`);
      now = (await this.#look(machine, ctx)) ?? now;
    }
    return { nics: now.nics.map(({ nicId }) => nicId), unsettled };
  }

  async #look(machine: M, ctx: StepContext): Promise<AttachedNics | null> {
    return attachedNics(await this.driver.monitor(machine), callBounds(ctx));
  }

  /** Says whether its guest let go of it. From its first moment on nothing passes it. */
  async #unplug(machine: M, nic: AttachedNic, ctx: StepContext): Promise<boolean> {
    await this.network.silence(machine, nic.nicId);
    await faultPoint('vm.nic.silenced', machine.instanceId);
    await this.driver.unplugNic(machine, nic, ctx);
    await faultPoint('vm.nic.unplugged', machine.instanceId);
    const isGone = async (): Promise<boolean> =>
      (await this.#look(machine, ctx))?.nics.every(({ nicId }) => nicId !== nic.nicId) === true;
    // One that stands still can do nothing.
    const end = performance.now() + (machine.power === 'running' ? GUEST_MS : 0);
    while (!(await isGone())) {
      if (performance.now() >= end) return false;
      guard(ctx);
      await wait(LOOK_MS, undefined, { signal: ctx.signal });
    }
    return true;
  }

  /** What is left of a nic whose device is gone. */
  async #drop(machine: M, nicId: NicId, ctx: StepContext): Promise<void> {
    await this.driver.nicUnplugged(machine, nicId, ctx);
    await faultPoint('vm.nic.dropped', machine.instanceId);
    await this.network.detachNic(machine, nicId);
    await faultPoint('vm.nic.detached', machine.instanceId);
  }

  /** Says whether there was a slot for it. */
  async #plug(
    machine: M,
    spec: WorkloadSpec,
    nic: WorkloadNic,
    kept: AttachedNics,
    ctx: StepContext,
  ): Promise<boolean> {
    const port = freePort(kept);
    if (port === null) return false;
    const account = await this.driver.account(spec.rootVolume.id);
    guard(ctx);
    const { ifname: tap } = await this.network.attachTap(spec, nic, account);
    await faultPoint('vm.nic.made', spec.instanceId);
    try {
      await this.driver.plugNic(machine, { id: nic.id, mac: nic.mac, tap, port }, ctx);
    } catch (error) {
      if (!(error instanceof RuntimeError && error.code === 'unsupported')) throw error;
      await this.network.detachNic(machine, nic.id);
      return false;
    }
    await faultPoint('vm.nic.plugged', spec.instanceId);
    return true;
  }
}

/** The lowest slot that no nic has; null when all are taken. Where the driver gives them away, any. */
function freePort({ nics, ports }: AttachedNics): number | null {
  for (let port = 0; port < (ports ?? 1); port += 1) if (!nics.some((nic) => nic.port === port)) return port;
  return null;
}

/** Taps of one epoch, by the links' own word. */
export async function tapsOf({ instanceId, epoch }: WorkloadKey, network: Pick<NicAttacher, 'inventory'>) {
  const all = await network.inventory();
  return all.filter((nic) => nic.kind === 'tap' && nic.instanceId === instanceId && nic.epoch === epoch);
}

const macOf = (taps: Awaited<ReturnType<typeof tapsOf>>, id: NicId): string =>
  taps.find(({ nicId }) => nicId === id)?.addresses?.mac ?? id;
