import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { readFile, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { VolumeId } from '@berth/model';
import type { Runtime, Terminal, WorkloadHas, WorkloadSpec } from '@berth/runtime';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { eventually, QemuHost, serialText, step, TestHost } from '../testing/host.js';
import type { VmRuntime } from './vm-runtime.js';

/* The sample guest: Debian's cloud kernel with virtio_mem, and a shell on its serial line. One boot for each driver. */
const exec = promisify(execFile);
const repository = new URL('../../../../', import.meta.url).pathname;
let disk: Buffer;

beforeAll(async () => {
  const dir = await mkdtemp(join(tmpdir(), 'berth-grows-'));
  const samples = join(repository, '.berth/samples');
  await exec(join(repository, 'tools/samples/build'), [samples], { timeout: 240_000 });
  const raw = join(dir, 'tiny.raw');
  await exec('qemu-img', ['convert', '-f', 'qcow2', '-O', 'raw', join(samples, 'tiny.qcow2'), raw]);
  disk = await readFile(raw);
  await rm(dir, { recursive: true });
}, 300_000);

describe.each(['libvirt', 'qemu'] as const)('memory of a machine under %s', (driver) => {
  let host: TestHost | QemuHost;
  let runtime: VmRuntime<never> & Required<Pick<Runtime, 'logs'>>;
  let spec: WorkloadSpec;
  const reborn = async (): Promise<void> => {
    await runtime?.close();
    runtime = host.runtime() as unknown as typeof runtime;
  };
  beforeAll(async () => {
    host = driver === 'libvirt' ? await TestHost.start() : new QemuHost();
    await reborn();
    const rootVolume = { id: randomUUID() as VolumeId, sizeMiB: 64 };
    spec = host.specOf(disk, { memoryMiB: 192, minMemoryMiB: 160, maxMemoryMiB: 400, rootVolume });
    await runtime.prepare(spec, step(60_000));
    await runtime.start(spec, step(60_000));
    await says(/berth-ready/);
  }, 300_000);
  afterAll(() => host.stop(), 120_000);

  const says = (line: RegExp, ms = 120_000): Promise<RegExpExecArray> =>
    eventually(`${line}`, async () => line.exec(await serialText(runtime, spec)) ?? undefined, ms);
  const bring = (memoryMiB: number): Promise<WorkloadHas> =>
    runtime.update({ ...spec, memoryMiB }, step(30_000));
  /** What an agent comes to, that asks again until it was taken. */
  const taken = (memoryMiB: number): Promise<WorkloadHas> =>
    eventually(
      `${memoryMiB} MiB`,
      async () => {
        const has = await bring(memoryMiB);
        return has.unsettled.length === 0 ? has : undefined;
      },
      60_000,
    );

  let asked = 0;
  /** Memory as the guest's kernel counts it, MiB. */
  async function guestMiB(): Promise<number> {
    const mark = `mem-${(asked += 1)}`;
    const open = { scrollbackBytes: 0, readOnly: false } as never;
    const line: Terminal = await runtime.console(spec, open, AbortSignal.timeout(120_000));
    const asks = `echo ${mark}=$(sed -n 's/^MemTotal: *\\([0-9]*\\) kB/\\1/p' /proc/meminfo).\n`;
    // Its shell may begin after it said that it is ready, and drops what was typed before.
    const heard = async (): Promise<RegExpExecArray | undefined> => {
      await line.write(Buffer.from(asks));
      return says(new RegExp(`${mark}=(\\d+)\\.`), 5_000).catch(() => undefined);
    };
    const found = await eventually(mark, heard, 120_000);
    line.close();
    return Number(found[1]) / 1024;
  }

  it('grows and shrinks as its guest takes it, and comes back from a suspend with what it had', async () => {
    expect((await taken(192)).sizes.memoryMiB).toBe(192);
    const first = await guestMiB();
    expect((await taken(384)).sizes).toMatchObject({ memoryMiB: 384, minMemoryMiB: 160, maxMemoryMiB: 400 });
    expect((await guestMiB()) - first).toBeCloseTo(192, -1);
    expect((await runtime.limits(spec)).memoryBytes).toBe(384 * 2 ** 20);

    await reborn();
    expect((await bring(384)).unsettled).toEqual([]);
    await runtime.suspend({ ...spec, memoryMiB: 384 }, step(60_000));
    await runtime.prepare({ ...spec, memoryMiB: 224 }, step(60_000));
    await runtime.start({ ...spec, memoryMiB: 224 }, step(60_000));
    expect((await runtime.limits(spec)).memoryBytes).toBe(384 * 2 ** 20);
    expect((await guestMiB()) - first).toBeCloseTo(192, -1);

    expect((await taken(224)).sizes.memoryMiB).toBe(224);
    expect((await guestMiB()) - first).toBeCloseTo(32, -1);
    await runtime.pause(spec, step());
    const still = await bring(320);
    expect(still.sizes.memoryMiB).toBe(224);
    expect(still.unsettled).toEqual([{ field: 'memoryMiB', why: 'its guest uses 224 MiB' }]);
    await runtime.resume(spec, step());
    expect((await taken(320)).sizes.memoryMiB).toBe(320);
  }, 400_000);
});
