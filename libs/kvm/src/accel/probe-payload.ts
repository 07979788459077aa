/*
 * The last 512 bytes of a ROM of 64 KiB, assembled by hand, in place of a BIOS: a host that is bad at virtualisation
 * can take seconds for a BIOS alone. It enters 64-bit mode with paging and runs two loops, each in 16 parts:
 *
 *   A  awake in real mode      B  in long mode      a…a  arithmetic      C      k…k  what kernels do      D  done
 *
 * Each letter goes to the debug port when reached; B, a and k are followed by the time stamp counter, 8 bytes, little
 * end first. The guest takes the time itself, because a busy reader outside sees many marks at once; under both
 * accelerators the counter is the host's, so times can be compared though nobody knows its rate. Arithmetic never leaves the
 * guest where virtualisation is real; it did, at each instruction, on the host this was first written against, where a
 * boot sector ran and no kernel came up. What kernels do: load CR3 and CR0, INVLPG, interrupts on and off, SWAPGS,
 * read and write a machine register.
 */

/** Where the marks go (QEMU's isa-debugcon) and what ends the run (isa-debug-exit, one byte). */
export const DEBUG_PORT = 0xe9;
export const EXIT_PORT = 0x501;
/** Status QEMU ends with when the payload came to its end: 1 doubled, plus one. */
export const DONE_STATUS = 3;
/** Parts of each loop. */
export const PARTS = 16;

const ROM_BYTES = 64 * 1024;
const SECTOR = 512;
/** Linear address of the sector in the ROM's copy below one MiB, and its offset in segment F000. */
const BASE = 0xffe00;
const OFFSET = 0xfe00;
const GDT = 0x1c0;
const GDT_POINTER = 0x1d8;
const RESET = 0x1f0;

const word = (value: number): number[] => [value & 0xff, (value >> 8) & 0xff];
const long = (value: number): number[] => [...word(value & 0xffff), ...word((value >>> 16) & 0xffff)];
const mark = (letter: string): number[] => [0xb0, letter.charCodeAt(0), 0xe6, DEBUG_PORT]; // mov al, letter; out

/** Long mode straight from real mode (AMD64 manual, volume 2, section 14): one 2 MiB page, mapped to itself. */
function enterLongMode(at: number): number[] {
  const code = [
    ...[0xfa, 0x31, 0xc0, 0x8e, 0xd8, 0x8e, 0xc0, 0x8e, 0xd0, 0xbc, ...word(0x7c00)], // cli; ds, es, ss = 0; sp
    ...mark('A'),
    ...[0xb0, 0xff, 0xe6, 0x21, 0xe6, 0xa1], // mask every interrupt line
    ...[0xbf, ...word(0x1000), 0xb9, ...word(0x1800), 0x31, 0xc0, 0xfc, 0xf3, 0xab], // clear three tables
    ...[0xc7, 0x06, ...word(0x1000), ...word(0x2003)], // level 4 → 3
    ...[0xc7, 0x06, ...word(0x2000), ...word(0x3003)], // level 3 → 2
    ...[0xc7, 0x06, ...word(0x3000), ...word(0x0083)], // level 2: the page
    ...[0x2e, 0x0f, 0x01, 0x16, ...word(OFFSET + GDT_POINTER)], // lgdt cs:[pointer]
    ...[0x66, 0xb8, ...long(0xa0), 0x0f, 0x22, 0xe0], // cr4 = PAE, PGE
    ...[0x66, 0xba, ...long(0x1000), 0x0f, 0x22, 0xda], // cr3 = level 4
    ...[0x66, 0xb9, ...long(0xc0000080), 0x0f, 0x32, 0x66, 0x0d, ...long(0x100), 0x0f, 0x30], // EFER.LME
    ...[0x0f, 0x20, 0xc0, 0x66, 0x0d, ...long(0x80000001), 0x0f, 0x22, 0xc0], // cr0: PE, PG
  ];
  const jump = (to: number): number[] => [0x66, 0xea, ...long(to), ...word(8)]; // jmp 8:to
  return [...code, ...jump(at + code.length + jump(0).length)];
}

/** Sends the time stamp counter. Changes rax, rcx and rdx. */
const sendTime = [
  ...[0x0f, 0x31, 0x48, 0xc1, 0xe2, 0x20, 0x48, 0x09, 0xd0], // rdtsc; shl rdx, 32; or rax, rdx
  ...[0xb9, ...long(8)], // mov ecx, 8
  ...[0xe6, DEBUG_PORT, 0x48, 0xc1, 0xe8, 0x08, 0xe2, 0xf8], // again: out; shr rax, 8; loop again
];

/** `body` `count` times, sixteen times over, mark and time after each sixteenth. */
function parts(body: readonly number[], count: number, letter: string): number[] {
  const back = (from: number): number[] => [0x0f, 0x85, ...long(-(from + 6))]; // jnz
  const inner = [...body, 0xff, 0xce]; // …; dec esi
  const part = [0xbe, ...long(count), ...inner, ...back(inner.length), ...mark(letter), ...sendTime];
  const outer = [...part, 0xff, 0xcb]; // …; dec ebx
  return [0xbb, ...long(PARTS), ...outer, ...back(outer.length)];
}

const arithmetic = [0x01, 0xd0, 0x31, 0xc2]; // add eax, edx; xor edx, eax

const kernelWork = [
  ...[0x0f, 0x20, 0xd8, 0x0f, 0x22, 0xd8], // mov rax, cr3; mov cr3, rax
  ...[0x0f, 0x01, 0x3c, 0x25, ...long(0x5000)], // invlpg
  ...[0x9c, 0x9d, 0xfb, 0x90, 0xfa], // pushf; popf; sti; nop; cli
  ...[0x0f, 0x01, 0xf8, 0x0f, 0x01, 0xf8], // swapgs, twice
  ...[0xb9, ...long(0xc0000101), 0x0f, 0x32, 0x0f, 0x30], // rdmsr, wrmsr of GS.base
  ...[0x0f, 0x20, 0xc0, 0x0f, 0x22, 0xc0], // mov rax, cr0; mov cr0, rax
];

/** Reads the marks: ticks from B to the end of each part that was reached, and nothing of one that is not whole. */
export function partTicks(marks: Buffer): number[] {
  const ticks: number[] = [];
  let began: bigint | null = null;
  for (let at = 0; at < marks.length; at += 1) {
    const letter = String.fromCharCode(marks[at] ?? 0);
    if (!'Bak'.includes(letter)) continue;
    if (at + 9 > marks.length) break;
    const time = marks.readBigUInt64LE(at + 1);
    if (letter === 'B') began = time;
    else if (began !== null) ticks.push(Number(time - began));
    at += 8;
  }
  return ticks;
}

/** The ROM. By default each loop takes some 30 ms under emulation on a processor of 2020. */
export function probeRom(
  counts: { arithmetic: number; kernel: number } = { arithmetic: 50_000, kernel: 300 },
): Buffer {
  const code = [
    ...enterLongMode(BASE),
    ...[0x66, 0xb8, 0x10, 0x00, 0x8e, 0xd8, 0x8e, 0xc0, 0x8e, 0xd0], // ds, es, ss = 16
    ...mark('B'),
    ...sendTime,
    ...parts(arithmetic, counts.arithmetic, 'a'),
    ...mark('C'),
    ...parts(kernelWork, counts.kernel, 'k'),
    ...mark('D'),
    ...[0x66, 0xba, ...word(EXIT_PORT), 0xb0, 0x01, 0xee], // mov dx, port; mov al, 1; out dx, al
    ...[0xf4, 0xeb, 0xfd], // hlt, for good
  ];
  const sector = Buffer.alloc(SECTOR);
  if (Buffer.from(code).copy(sector) > GDT) throw new Error('the payload has outgrown its sector');
  // Marked as accessed already: a processor would write that bit, and this is a ROM.
  sector.writeBigUInt64LE(0x0020_9b00_0000_0000n, GDT + 8);
  sector.writeBigUInt64LE(0x0000_9300_0000_0000n, GDT + 16);
  sector.writeUInt16LE(23, GDT_POINTER);
  sector.writeUInt32LE(BASE + GDT, GDT_POINTER + 2);
  Buffer.from([0xea, ...word(OFFSET), ...word(0xf000)]).copy(sector, RESET); // where a processor begins
  return Buffer.concat([Buffer.alloc(ROM_BYTES - SECTOR), sector]);
}
