import type { ChildProcess } from 'node:child_process';
import { execFileSync, spawn } from 'node:child_process';
import { createReadStream, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createConnection } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { BlobStore, importArchive, inspectDisk, LayerStore } from '@berth/images';
import { VolumePool } from '@berth/storage';
import { VolumeId } from '@berth/model';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';

const build = fileURLToPath(new URL('../../tools/samples/build', import.meta.url));
const out = fileURLToPath(new URL('../../.berth/samples', import.meta.url));
let dir: string;
let guest: ChildProcess | null = null;

beforeAll(() => {
  execFileSync(build, [out], { stdio: 'pipe' });
  dir = mkdtempSync(join(tmpdir(), 'berth-sample-test-'));
}, 180_000);
afterEach(async () => {
  if (guest !== null && guest.exitCode === null && guest.signalCode === null) {
    const gone = new Promise((resolve) => guest?.once('exit', resolve));
    guest.kill('SIGKILL');
    await gone;
  }
  guest = null;
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

function seed(hostname: string, nonce: string): string {
  const files = join(dir, 'seed');
  const iso = join(dir, 'seed.iso');
  mkdirSync(files, { recursive: true });
  writeFileSync(join(files, 'user-data'), `#cloud-config\nnonce: ${nonce}\n`);
  writeFileSync(join(files, 'meta-data'), `instance-id: i-1\nlocal-hostname: ${hostname}\n`);
  execFileSync('genisoimage', ['-quiet', '-o', iso, '-V', 'cidata', '-J', '-r', files]);
  return iso;
}

/** Boots the disk under TCG and returns the ready line and how to press the power button. */
async function boot(machine: string, disk: string, iso: string) {
  const qmp = join(dir, 'qmp.sock');
  rmSync(qmp, { force: true });
  const drives = [`file=${disk},format=qcow2,if=virtio`, `file=${iso},format=raw,if=virtio,readonly=on`];
  const args = ['-accel', 'tcg', '-m', '128', '-machine', machine, '-nodefaults', '-display', 'none'];
  args.push(
    '-serial',
    'stdio',
    '-nic',
    'user,model=virtio-net-pci',
    '-qmp',
    `unix:${qmp},server=on,wait=off`,
  );
  const child = spawn('qemu-system-x86_64', [...args, ...drives.flatMap((d) => ['-drive', d])], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  guest = child;
  const exited = new Promise<number | null>((resolve) => child.once('exit', resolve));
  let text = '';
  const ready = await new Promise<string>((resolve, reject) => {
    child.stdout.on('data', (chunk: Buffer) => {
      text += chunk.toString();
      const line = /^berth-ready .*$/m.exec(text.replaceAll('\r', ''));
      if (line !== null && text.includes('\n', text.indexOf('berth-ready'))) resolve(line[0]);
    });
    child.once('exit', () => reject(new Error(`the guest ended: ${text}`)));
  });
  // What is not read would keep the connection open.
  const powerdown = () =>
    createConnection(qmp).resume().end('{"execute":"qmp_capabilities"}\n{"execute":"system_powerdown"}\n');
  return { ready, powerdown, exited };
}

describe('the sample disk', () => {
  it('boots on both machine types, keeps its data over boots, and obeys the power button', async () => {
    const path = join(out, 'tiny.qcow2');
    expect(await inspectDisk(path)).toMatchObject({ format: 'qcow2' });
    const pool = new VolumePool({ dir: join(dir, 'volumes') });
    const disk = await pool.ensureOverlayDisk({
      volumeId: VolumeId.parse('00000000-0000-4000-8000-000000000001'),
      base: { path, format: 'qcow2' },
      sizeMiB: 64,
    });
    for (const [boots, machine] of ['q35', 'pc'].entries()) {
      const nonce = `n${boots}`;
      const { ready, powerdown, exited } = await boot(machine, disk.path, seed('web-1', nonce));
      expect(ready).toBe(`berth-ready hostname=web-1 nonce=${nonce} ip=10.0.2.15 boots=${boots + 1}`);
      powerdown();
      expect(await exited).toBe(0);
    }
  }, 90_000);
});

describe('the sample container image', () => {
  it('is an image that is imported and unpacked, and its entry point answers and ends on TERM', async () => {
    const blobs = new BlobStore(join(dir, 'blobs'));
    const content = await importArchive(createReadStream(join(out, 'busybox.oci.tar')), blobs);
    expect(content.process).toMatchObject({ entrypoint: ['/bin/demo'], stopSignal: 'SIGTERM' });
    const [layer] = content.layers;
    if (layer === undefined) throw new Error('no layer');
    const tree = await new LayerStore(join(dir, 'layers'), blobs).ensure(layer);
    const inside = ['--net', '--uts', '--pid', '--fork', '--kill-child', '--root', tree, '/bin/demo'];
    const child = spawn('unshare', inside, { env: { NONCE: 'abc', PATH: '/usr/bin:/bin' } });
    guest = child;
    const exited = new Promise<number | null>((resolve) => child.once('exit', resolve));
    const line = await new Promise<string>((resolve) =>
      child.stdout.once('data', (chunk: Buffer) => resolve(chunk.toString())),
    );
    expect(line).toMatch(/^ready hostname=\S+ nonce=abc ip=none boots=1\n$/);
    const [init] = execFileSync('pgrep', ['-P', String(child.pid)], { encoding: 'utf8' })
      .trim()
      .split('\n');
    process.kill(Number(init), 'SIGTERM');
    expect(await exited).toBe(0);
    expect(existsSync(join(tree, 'srv/index.html'))).toBe(true);
  });

  it('is not built again when nothing has changed', () => {
    const said = execFileSync('sh', ['-c', '"$0" "$1" 2>&1', build, out], { encoding: 'utf8' });
    expect(said).toMatch(/busybox\.oci\.tar is up to date\n.*tiny\.qcow2 is up to date/);
  });
});
