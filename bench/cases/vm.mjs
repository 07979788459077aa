// POST to the line that the guest prints when it is ready: each driver against the same machine started by hand.
//
// The peers get the machine that we would have started: the domain XML of one of ours with another name, disk and serial
// file, defined and started by virsh; and the arguments of one of our QEMU processes. The image is warm, every side makes its
// own overlay with qemu-img, and nobody has a nic: the guest would wait for an address that only our networks give. A microVM
// is such a process too, with the kernel, the root and the config disk that it has with us.
import { chmodSync, copyFileSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { spawn } from 'node:child_process';
import { dirname, join } from 'node:path';
import { comparison, inTurn, now, pause } from '../measure.mjs';
import { run } from '../programs.mjs';
import { parts } from './container.mjs';

export const readyMark = 'nonce=';
const bootLimitMs = 60_000;

/** @param kind a driver, or `microvm` */
export const spec = (kind) => (kind === 'microvm' ? microvm : machine(kind));

const microvm = {
  isolation: 'microvm',
  image: 'busybox',
  memoryMiB: 96,
  rootDisk: { sizeMiB: 64 },
  nics: [],
  process: { command: ['/bin/sh', '-c', `echo ${readyMark}bench; exec sleep 1000000`] },
};

const machine = (driver) => ({
  isolation: 'vm',
  image: 'tiny',
  vcpus: 1,
  memoryMiB: 128,
  rootDisk: { sizeMiB: 64 },
  nics: [],
  userData: '#cloud-config\nnonce: bench\n',
  placement: { driver },
});

export const vmLibvirt = (bench) => compared(bench, 'libvirt', 'vm (libvirt driver)', virsh, 1.02);
export const vmQemu = (bench) => compared(bench, 'qemu', 'vm (qemu driver)', bareQemu, 1.03);
export const vmMicrovm = (bench) => compared(bench, 'microvm', 'microVM (busybox)', bareQemu, 1.05);

async function compared(bench, kind, title, peerOf, aim) {
  const { dir, pairs, limitMs, progress } = bench;
  mkdirSync(join(dir, 'vm'), { recursive: true, mode: 0o711 });
  const template = await templateOf(bench, kind);
  const peer = await peerOf(bench, template);
  const traces = [];
  const ours = (round) => ourBoot(bench, kind, template, `bench-${kind}${round}`, round >= 2 ? traces : []);
  const contenders = { berth: ours, [peer.name]: peer.boot };
  const times = await inTurn(contenders, { rounds: pairs, limitMs, progress });
  const what = `${title}: POST to ready line`;
  return {
    comparisons: [comparison(what, times.berth, times[peer.name], `${peer.name}: ${peer.what}`, aim)],
    trace: { title: what, ...parts(traces) },
  };
}

/** One of our machines, looked at while it runs: what the peers copy. */
async function templateOf(bench, kind) {
  const { berth, dir } = bench;
  const name = `bench-${kind}-template`;
  const { instance } = await berth.create(name, spec(kind));
  const uuid = instance.uuid;
  try {
    const pid = await qemuPid(uuid);
    const args = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').slice(0, -1);
    const xml =
      kind === 'libvirt'
        ? await run('virsh', ['-q', '-c', 'qemu:///system', 'dumpxml', '--inactive', uuid])
        : null;
    const text = xml ?? args.join(' ');
    const find = (pattern, what) =>
      pattern.exec(text)?.[0] ?? fail(`the machine of ${name} shows no ${what}`);
    const serial = find(/\/[^'", ]*\/log\/[^'", ]+/, 'serial file');
    const disk = find(/\/[^'", ]*\/volumes\/[^'", ]*/, 'disk');
    // What its guest is told: a seed for cloud-init, or the config disk of a microVM.
    const seed = find(/\/[^'", ]*(?:seed[^'", ]*|\.config)/, 'seed');
    // Its sockets lie side by side.
    const runDir = dirname(find(/\/[^'",: ]*\/(?:vnc|qmp)(?=['", ])/, 'socket'));
    const keptSeed = join(dir, 'vm', `${kind}-seed.iso`);
    copyFileSync(seed, keptSeed);
    const info = JSON.parse(await run('qemu-img', ['info', '-U', '--output=json', disk]));
    return {
      ...{
        uuid,
        id: instance.id,
        args,
        xml,
        serial,
        disk,
        seed,
        runDir,
        keptSeed,
        owner: statSync(disk).uid,
      },
      base: {
        file: info['full-backing-filename'],
        format: info['backing-filename-format'],
        size: info['virtual-size'],
      },
    };
  } finally {
    await berth.delete(name);
  }
}

async function qemuPid(uuid) {
  for (const pid of (await run('pgrep', ['-f', uuid])).trim().split('\n'))
    if (/qemu-system/.test(readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0')[0])) return Number(pid);
  return fail(`no QEMU has the uuid ${uuid}`);
}

/** Milliseconds from the POST to the line. The file of another instance differs from the template's by its id only. */
async function ourBoot({ berth }, kind, template, name, traces) {
  const begun = now();
  const accepted = berth.create(name, spec(kind));
  accepted.catch(() => undefined);
  const { instance, operation } = await accepted;
  const took = (await readyAt(template.serial.replace(template.id, instance.id))) - begun;
  traces.push({ ...(await berth.trace(operation)), total: took });
  await berth.delete(name);
  return took;
}

/** When the file holds the line. */
async function readyAt(file) {
  const end = now() + bootLimitMs;
  for (let size = 0; now() < end; await pause(1)) {
    const found = statSync(file, { throwIfNoEntry: false })?.size ?? 0;
    if (found === size) continue;
    size = found;
    if (readFileSync(file, 'latin1').includes(readyMark)) return now();
  }
  return fail(
    `${file} had no "${readyMark}" within ${bootLimitMs} ms: ${readFileSync(file, 'latin1').slice(-300)}`,
  );
}

/** Folder for the sockets of a peer's machine, which runs as another user. */
function ownRunDir(dir, name) {
  const path = join(dir, 'vm', name);
  mkdirSync(path);
  chmodSync(path, 0o777);
  return path;
}

const overlay = ({ base }, file) =>
  run('qemu-img', [
    'create',
    '-q',
    '-f',
    'qcow2',
    '-b',
    base.file,
    '-F',
    base.format,
    file,
    String(base.size),
  ]);

async function virsh({ dir }, template) {
  const uri = ['-q', '-c', 'qemu:///system'];
  return {
    name: 'virsh',
    what: 'qemu-img create + define + start of the same domain',
    async boot(round) {
      const [disk, serial, file] = ['qcow2', 'log', 'xml'].map((end) =>
        join(dir, 'vm', `virsh-${round}.${end}`),
      );
      const uuid = crypto.randomUUID();
      const sockets = ownRunDir(dir, `virsh-${round}.run`);
      const document = template.xml
        .replace(/<name>[^<]*<\/name>/, `<name>bench-${uuid}</name>`)
        .replaceAll(template.uuid, uuid)
        .replace(/<metadata>[\s\S]*<\/metadata>/, '')
        .replaceAll(template.disk, disk)
        .replaceAll(template.seed, template.keptSeed)
        .replaceAll(template.serial, serial)
        .replaceAll(template.runDir, sockets);
      writeFileSync(file, document);
      writeFileSync(serial, '');
      try {
        const begun = now();
        await overlay(template, disk);
        await run('virsh', [...uri, `define ${file}; start bench-${uuid}`]);
        return (await readyAt(serial)) - begun;
      } finally {
        await run('virsh', [...uri, 'destroy', `bench-${uuid}`]).catch(() => undefined);
        await run('virsh', [...uri, 'undefine', `bench-${uuid}`]).catch(() => undefined);
        for (const path of [disk, serial, file, sockets]) rmSync(path, { recursive: true, force: true });
      }
    },
  };
}

async function bareQemu({ dir }, template) {
  return {
    name: 'qemu',
    what: 'qemu-img create + the same arguments',
    async boot(round) {
      const [disk, serial] = ['qcow2', 'log'].map((end) => join(dir, 'vm', `qemu-${round}.${end}`));
      const sockets = ownRunDir(dir, `qemu-${round}.run`);
      const args = template.args
        .map((a) =>
          a
            .replaceAll(template.disk, disk)
            .replaceAll(template.serial, serial)
            .replaceAll(template.seed, template.keptSeed)
            .replaceAll(template.runDir, sockets),
        )
        // Ours waits for `cont` over QMP; nobody would say it here.
        .filter((a) => a !== '-S');
      const begun = now();
      await overlay(template, disk);
      const child = spawn(args[0], args.slice(1), { stdio: ['ignore', 'ignore', 'pipe'] });
      let said = '';
      child.stderr.on('data', (chunk) => (said += chunk));
      const gone = new Promise((resolve) => child.once('exit', resolve));
      try {
        const early = gone.then(() => fail(`qemu ended: ${said.slice(-400)}`));
        early.catch(() => undefined);
        return (await Promise.race([readyAt(serial), early])) - begun;
      } finally {
        child.kill('SIGKILL');
        await gone;
        for (const path of [disk, serial, sockets]) rmSync(path, { recursive: true, force: true });
      }
    },
  };
}

function fail(message) {
  throw new Error(message);
}
