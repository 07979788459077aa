import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { run } from '@berth/linux';

/*
 * A guest that only UEFI firmware boots: a FAT file system with one program of a few hundred bytes, assembled by hand. It
 * counts its boots in a variable of the firmware, not on its disk, and writes `boots=<n>` to COM1. Where there is a TPM it asks that
 * how often it was reset and writes `resets=<n>`, modulo 8. Then it does nothing.
 */

/** `Boots`, UTF-16, and a vendor's GUID of ours. */
const NAME = Buffer.from('Boots\0', 'utf16le');
const VENDOR = Buffer.from('6b3f0e517d9c4c4b9a1e626572746821', 'hex');
const TEXT = Buffer.from('boots=\0', 'latin1');
const RESETS = Buffer.from('resets=\0', 'latin1');
/** TPM2_ReadClock (TPM 2.0 library, part 3), and where in its answer the last byte of `resetCount` is. */
const READ_CLOCK = Buffer.from('80010000000a00000181', 'hex');
const RESET_COUNT = 29;
const COM1 = 0x3f8;

/** Where the one section begins in memory; data lies first, so that no address depends on the length of the code. */
const SECTION = 0x1000;
const HEADERS = 0x200;
const PAGE = 0x1000;
const at = { size: 0, count: 8, name: 16, vendor: 32, text: 48, resets: 56, clock: 64, code: 80 } as const;

/** Offsets in the tables of the UEFI specification, 2.10: EFI_SYSTEM_TABLE and EFI_RUNTIME_SERVICES. */
const RUNTIME_SERVICES = 88;
const GET_VARIABLE = 72;
const SET_VARIABLE = 88;
/** The TPM's command response buffer interface (PC Client platform TPM profile), and the vendor that QEMU says it is of. */
const CRB = {
  base: 0xfed40000,
  locality: 0x08,
  vendor: 0x34,
  request: 0x40,
  start: 0x4c,
  data: 0x80,
} as const;
const QEMU_TPM = 0x1014;
/** Non-volatile, for boot services and for the running system. */
const ATTRIBUTES = 7;

/** An instruction that ends with the distance from its own end to data of the section. */
const toData = (place: number, opcode: readonly number[], data: number): number[] => {
  const distance = Buffer.alloc(4);
  distance.writeInt32LE(data - (place + opcode.length + 4));
  return [...opcode, ...distance];
};

/** Asks the TPM whose interface is at edi for its clock, and writes how often it was reset. */
function askClock(place: number): number[] {
  const code: number[] = [];
  const add = (...bytes: number[]): void => void code.push(...bytes);
  add(0xb8, 1, 0, 0, 0, 0x89, 0x47, CRB.locality, 0x89, 0x47, CRB.request); // mov eax, 1; mov [locality], eax; mov [request], eax
  add(...toData(place + code.length, [0x48, 0x8d, 0x35], at.clock)); // lea rsi, [clock]
  add(0x57, 0x81, 0xc7, CRB.data, 0, 0, 0, 0xb9, READ_CLOCK.length, 0, 0, 0, 0xf3, 0xa4, 0x5f); // push rdi; add edi, data; mov ecx, length; rep movsb; pop rdi
  add(0x89, 0x47, CRB.start, 0x85, 0x47, CRB.start, 0x75, 0xfb); // mov [start], eax; wait: test [start], eax; jnz wait
  add(...toData(place + code.length, [0x48, 0x8d, 0x35], at.resets)); // lea rsi, [resets]
  add(0x66, 0xba, COM1 & 0xff, COM1 >> 8, 0xac, 0x84, 0xc0, 0x74, 0x03, 0xee, 0xeb, 0xf8); // as below
  add(0x8a, 0x87, CRB.data + RESET_COUNT, 0, 0, 0, 0x24, 0x07); // mov al, [resetCount]; and al, 7
  add(0x04, 0x30, 0xee, 0xb0, 0x0a, 0xee); // add al, '0'; out dx, al; mov al, '\n'; out dx, al
  return code;
}

/** What it runs: `efi_main(handle, table)`, with the arguments in rcx, rdx, r8, r9 and on the stack. */
function program(): number[] {
  const code: number[] = [];
  const add = (...bytes: number[]): void => void code.push(...bytes);
  const load = (opcode: readonly number[], data: number): void =>
    add(...toData(at.code + code.length, opcode, data));
  add(0x53, 0x56, 0x48, 0x83, 0xec, 0x38); // push rbx; push rsi; sub rsp, 38h
  add(0x48, 0x8b, 0x5a, RUNTIME_SERVICES); // mov rbx, [rdx + RuntimeServices]
  load([0x48, 0x8d, 0x0d], at.name); // lea rcx, [name]
  load([0x48, 0x8d, 0x15], at.vendor); // lea rdx, [vendor]
  add(0x45, 0x31, 0xc0); // xor r8d, r8d: attributes are not asked for
  load([0x4c, 0x8d, 0x0d], at.size); // lea r9, [size]
  load([0x48, 0x8d, 0x05], at.count); // lea rax, [count]
  add(0x48, 0x89, 0x44, 0x24, 0x20); // mov [rsp + 20h], rax
  add(0xff, 0x53, GET_VARIABLE); // call [rbx + GetVariable]
  load([0xfe, 0x05], at.count); // inc byte [count]
  load([0x48, 0x8d, 0x0d], at.name);
  load([0x48, 0x8d, 0x15], at.vendor);
  add(0x41, 0xb8, ATTRIBUTES, 0, 0, 0); // mov r8d, attributes
  add(0x41, 0xb9, 1, 0, 0, 0); // mov r9d, 1
  load([0x48, 0x8d, 0x05], at.count);
  add(0x48, 0x89, 0x44, 0x24, 0x20);
  add(0xff, 0x53, SET_VARIABLE);
  load([0x48, 0x8d, 0x35], at.text); // lea rsi, [text]
  add(0x66, 0xba, COM1 & 0xff, COM1 >> 8); // mov dx, COM1
  add(0xac, 0x84, 0xc0, 0x74, 0x03, 0xee, 0xeb, 0xf8); // again: lodsb; test al, al; jz +3; out dx, al; jmp again
  load([0x8a, 0x05], at.count); // mov al, [count]
  add(0x04, 0x30, 0xee, 0xb0, 0x0a, 0xee); // add al, '0'; out dx, al; mov al, '\n'; out dx, al
  add(0xbf, 0x00, 0x00, (CRB.base >>> 16) & 0xff, CRB.base >>> 24); // mov edi, base
  const asking = askClock(at.code + code.length + 8);
  add(0x66, 0x81, 0x7f, CRB.vendor, QEMU_TPM & 0xff, QEMU_TPM >> 8, 0x75, asking.length); // cmp word [vendor], ours; jne past it
  add(...asking);
  add(0xf4, 0xeb, 0xfd); // idle: hlt; jmp idle
  return code;
}

/** The program as a PE32+ image for UEFI (Microsoft's PE format, "Windows-specific fields"). */
function image(): Buffer {
  const section = Buffer.alloc(HEADERS);
  section.writeBigUInt64LE(1n, at.size);
  NAME.copy(section, at.name);
  VENDOR.copy(section, at.vendor);
  TEXT.copy(section, at.text);
  RESETS.copy(section, at.resets);
  READ_CLOCK.copy(section, at.clock);
  const code = Buffer.from(program());
  if (at.code + code.length > section.length) throw new Error('the guest has outgrown its section');
  code.copy(section, at.code);

  const head = Buffer.alloc(HEADERS);
  const [pe, optional, directories] = [0x40, 0x58, 16];
  head.write('MZ', 0);
  head.writeUInt32LE(pe, 0x3c);
  head.write('PE\0\0', pe);
  head.writeUInt16LE(0x8664, pe + 4); // x86-64
  head.writeUInt16LE(1, pe + 6); // sections
  head.writeUInt16LE(112 + directories * 8, pe + 20);
  head.writeUInt16LE(0x22, pe + 22); // executable, beyond 2 GiB
  head.writeUInt16LE(0x20b, optional); // PE32+
  head.writeUInt32LE(section.length, optional + 4);
  head.writeUInt32LE(SECTION + at.code, optional + 16); // entry
  head.writeUInt32LE(SECTION, optional + 20);
  head.writeBigUInt64LE(0x400000n, optional + 24);
  head.writeUInt32LE(PAGE, optional + 32);
  head.writeUInt32LE(HEADERS, optional + 36);
  head.writeUInt32LE(SECTION + PAGE, optional + 56);
  head.writeUInt32LE(HEADERS, optional + 60);
  head.writeUInt16LE(10, optional + 68); // an application for UEFI
  head.writeUInt32LE(directories, optional + 108);
  const entry = optional + 112 + directories * 8;
  head.write('.text', entry);
  head.writeUInt32LE(section.length, entry + 8);
  head.writeUInt32LE(SECTION, entry + 12);
  head.writeUInt32LE(section.length, entry + 16);
  head.writeUInt32LE(HEADERS, entry + 20);
  head.writeUInt32LE(0xe0000020, entry + 36); // code; may be run, read and written
  return Buffer.concat([head, section]);
}

/** A raw disk of 1 MiB that boots by UEFI only. */
export async function uefiDisk(): Promise<Buffer> {
  const dir = await mkdtemp(join(tmpdir(), 'berth-uefi-'));
  try {
    const [disk, file] = [join(dir, 'disk'), join(dir, 'BOOTX64.EFI')];
    await writeFile(file, image());
    await writeFile(disk, Buffer.alloc(1024 * 1024));
    await run('mformat', ['-i', disk, '-t', '16', '-h', '2', '-s', '64', '::']);
    await run('mmd', ['-i', disk, '::/EFI', '::/EFI/BOOT']);
    await run('mcopy', ['-i', disk, file, '::/EFI/BOOT/']);
    return await readFile(disk);
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}
