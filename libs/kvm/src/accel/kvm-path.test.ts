import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { run } from '@berth/linux';
import type { InstanceId } from '@berth/model';
import { afterAll, expect, it, vi } from 'vitest';
import { undivided, type MachineSpec } from '../machine/machine-spec.js';
import { machineArguments } from '../qemu/machine-arguments.js';
import { QmpClient } from '../qmp/client.js';
import { bootDisk } from '../testing/boot-sector.js';
import { deviceFault } from './host-facts.js';

/*
 * The arguments of a machine under KVM, as far as this host can follow: a host with VT-x or AMD-V boots it; one whose
 * device opens and is good for nothing (each guest instruction traps) still boots the sector, with a plain processor
 * where it cannot give the guest its own; one without the device is told so by QEMU.
 */
const dir = mkdtempSync(join(tmpdir(), 'berth-kvm-path-'));
afterAll(() => rmSync(dir, { recursive: true }));

async function machine(): Promise<string[]> {
  const [disk, base, serialLog] = [join(dir, 'disk.qcow2'), join(dir, 'base'), join(dir, 'serial.log')];
  writeFileSync(base, bootDisk('steady'));
  await run('qemu-img', ['create', '-q', '-f', 'qcow2', '-b', base, '-F', 'raw', disk, '8M']);
  const spec: MachineSpec = {
    instanceId: '6f1d2f7e-2a0b-4c57-9df5-7b7d4a2a1c11' as InstanceId,
    epoch: 1,
    title: 'default/kvm',
    hostTag: 'h1',
    uuid: '0b0f7c0e-6f0e-4a54-8a4e-2f8b6a3f9d10',
    accel: 'kvm',
    machineType: 'q35',
    vcpus: 1,
    vcpuPlug: null,
    cpuMillis: null,
    memoryMiB: 32,
    plug: null,
    disk: { path: disk, base: { path: base, format: 'raw' }, cache: 'writeback' },
    scsi: true,
    volumes: [],
    seedPath: null,
    nics: [],
    cdroms: [],
    nicPorts: 0,
    // Where each instruction traps, the firmware of a screen takes longer than all the rest.
    display: null,
    moreDisplays: [],
    watchdog: null,
    firmware: null,
    cpuModel: null,
    tpm: null,
    hugePages: null,
    vsockCid: null,
    numa: undivided,
    usbTablet: false,
    freePageReporting: false,
    serialLog,
  };
  return machineArguments(spec, {
    qmpSocket: join(dir, 'qmp'),
    agentSocket: join(dir, 'ga'),
    exitFile: join(dir, 'exit'),
    tapDescriptors: [],
    memoryDescriptor: null,
    vsockDescriptor: null,
  });
}

/** Runs it until its guest speaks. Null when QEMU refused, with its words. */
async function booted(
  args: readonly string[],
): Promise<{ kvm: object; serial: string } | { refused: string }> {
  rmSync(join(dir, 'qmp'), { force: true });
  const qemu = spawn('qemu-system-x86_64', args, { stdio: ['ignore', 'ignore', 'pipe'] });
  let words = '';
  qemu.stderr.on('data', (chunk: Buffer) => (words += chunk.toString('utf8')));
  const gone = once(qemu, 'close');
  try {
    await vi.waitUntil(() => existsSync(join(dir, 'qmp')) || qemu.exitCode !== null, { timeout: 20_000 });
    const client = await QmpClient.open(connect(join(dir, 'qmp'))).catch(() => null);
    if (client === null) return await gone.then(() => ({ refused: words }));
    const kvm = await client.execute('query-kvm');
    await client.execute('cont');
    const serial = (): string => readFileSync(join(dir, 'serial.log'), 'utf8');
    await vi.waitUntil(() => serial().includes('boots='), { timeout: 120_000 });
    client.close();
    return { kvm, serial: serial() };
  } finally {
    qemu.kill('SIGKILL');
    await gone;
  }
}

it('a machine under KVM boots wherever the device opens, and QEMU says that it is KVM', async () => {
  const args = await machine();
  const own = await booted(args);
  if ((await deviceFault()) !== null) {
    expect(own).toMatchObject({ refused: expect.stringMatching(/KVM/) as string });
    return;
  }
  const plain = args.map((argument, i) => (args[i - 1] === '-cpu' ? 'qemu64' : argument));
  const ran = 'refused' in own ? await booted(plain) : own;
  expect(ran).toEqual({
    kvm: { enabled: true, present: true },
    serial: expect.stringContaining('boots=1') as string,
  });
}, 300_000);
