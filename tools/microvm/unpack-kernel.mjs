// usage: node unpack-kernel.mjs BZIMAGE OUT
//
// Takes the ELF kernel out of a bzImage, so that no machine has to unpack it at its boot, and writes it to OUT where a virtual
// machine can begin it as it is: with the note that gives the entry point of a PVH boot. Exit code 3, with the reason, and no
// OUT, where it is no such kernel or what unpacks it is not installed: the bzImage boots as well, only later.
//
// The boot protocol says where the packed kernel is (Documentation/arch/x86/boot.rst: setup_sects, payload_offset and
// payload_length, since version 2.08), its first bytes say what packed it.
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';

const SECTOR = 512;
const LARGEST = 512 * 1024 * 1024;
const [, , from, to] = process.argv;

function giveUp(why) {
  process.stderr.write(`${why}\n`);
  process.exit(3);
}

/** What packs kernels, by the first bytes of what it made. All but gzip are followed by the size of what they hold. */
const packers = [
  { magic: '02214c18', command: 'lz4', sized: true },
  { magic: 'fd377a585a00', command: 'xz', sized: true },
  { magic: '28b52ffd', command: 'zstd', sized: true },
  { magic: '1f8b', command: 'gzip', sized: false },
];

/** The packed kernel in a bzImage. */
function payloadOf(image) {
  if (image.length < 0x250 || image.toString('latin1', 0x202, 0x206) !== 'HdrS') giveUp('it is no bzImage');
  if (image.readUInt16LE(0x206) < 0x208) giveUp('its boot protocol does not say where the kernel is');
  const start = ((image[0x1f1] || 4) + 1) * SECTOR + image.readUInt32LE(0x248);
  const end = start + image.readUInt32LE(0x24c);
  if (end > image.length || end - start < 64) giveUp('it is cut short');
  return image.subarray(start, end);
}

function unpacked(payload) {
  const packer = packers.find(({ magic }) => payload.subarray(0, magic.length / 2).toString('hex') === magic);
  if (packer === undefined) giveUp(`nothing here unpacks what begins with ${payload.toString('hex', 0, 6)}`);
  const { command, sized } = packer;
  const input = sized ? payload.subarray(0, -4) : payload;
  const { error, status, stdout, stderr } = spawnSync(command, ['-dc'], { input, maxBuffer: LARGEST });
  if (error !== undefined) giveUp(`${command} cannot be run: ${error.message}`);
  if (status !== 0) giveUp(`${command} failed: ${stderr.toString().trim()}`);
  // gzip ends with that size itself.
  if (stdout.length !== payload.readUInt32LE(payload.length - 4))
    giveUp(`${command} gave another size than it should`);
  return stdout;
}

const PT_NOTE = 4;
const XEN_ELFNOTE_PHYS32_ENTRY = 18;
const aligned = (n) => (n + 3) & ~3;

/** Whether a 64-bit x86 kernel has the note of a PVH boot: an entry point in its 32-bit physical addresses. */
function startsByPvh(elf) {
  if (elf.length < 64 || elf.toString('hex', 0, 6) !== '7f454c460201' || elf.readUInt16LE(0x12) !== 62)
    return false;
  const [at, size, count] = [
    Number(elf.readBigUInt64LE(0x20)),
    elf.readUInt16LE(0x36),
    elf.readUInt16LE(0x38),
  ];
  for (let i = 0; i < count; i++) {
    const header = elf.subarray(at + i * size, at + (i + 1) * size);
    if (header.length < 56 || header.readUInt32LE(0) !== PT_NOTE) continue;
    const begin = Number(header.readBigUInt64LE(8));
    if (hasEntryNote(elf.subarray(begin, begin + Number(header.readBigUInt64LE(32))))) return true;
  }
  return false;
}

function hasEntryNote(notes) {
  for (let at = 0; at + 12 <= notes.length;) {
    const [nameSize, size, type] = [0, 4, 8].map((offset) => notes.readUInt32LE(at + offset));
    const name = notes.toString('latin1', at + 12, at + 12 + nameSize);
    if (type === XEN_ELFNOTE_PHYS32_ENTRY && name === 'Xen\0') return true;
    at += 12 + aligned(nameSize) + aligned(size);
  }
  return false;
}

const kernel = unpacked(payloadOf(readFileSync(from)));
if (!startsByPvh(kernel)) giveUp('it has no entry point for a PVH boot');
writeFileSync(to, kernel);
