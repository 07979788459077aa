/*
 * A guest of 512 bytes, assembled by hand: it adds one to a counter in the second sector, writes `boots=<n>` to COM1
 * and then waits for the power button. SeaBIOS starts it in a fraction of a second, also when emulated.
 */

const COUNTER = 0x7e00;
const ORIGIN = 0x7c00;
const COM1 = 0x3f8;
/** Where a sector may lie that is neither code nor counter. */
const SPARE = 0x8000;
/** Services of INT 13h. */
const [READ, WRITE] = [0x02, 0x03];
/** Where SeaBIOS puts the chipset's power management registers: status, enable, control. */
const PM = { status: 0x600, enable: 0x602, control: 0x604 } as const;

const word = (value: number): number[] => [value & 0xff, value >> 8];

/** BIOS disk service 13h on a sector, counted from 1, of the boot drive, whose number lies on the stack. */
const sector = (service: number, number: number, buffer: number): number[] => [
  ...[0x5a, 0x52], // pop dx; push dx
  ...[0xb8, 0x01, service], // mov ax, service << 8 | one sector
  ...[0xbb, ...word(buffer)], // mov bx, buffer
  ...[0xb9, number, 0x00], // mov cx, cylinder 0, sector
  ...[0xb6, 0x00], // mov dh, head 0
  ...[0xcd, 0x13], // int 13h
];

const start = [
  ...[0x31, 0xc0, 0x8e, 0xd8, 0x8e, 0xc0, 0x8e, 0xd0], // xor ax, ax; mov ds, es, ss = ax
  ...[0xbc, ...word(ORIGIN), 0xfb], // mov sp, origin; sti
  0x52, // push dx: the boot drive
  ...sector(READ, 2, COUNTER),
  ...[0xfe, 0x06, ...word(COUNTER)], // inc byte [counter]
  ...sector(WRITE, 2, COUNTER),
];

/** Writes each byte at SI to COM1 until a zero, then the counter as one digit, then a line break. */
const print = (text: number): number[] => [
  ...[0xbe, ...word(text)], // mov si, text
  ...[0xba, ...word(COM1)], // mov dx, COM1
  ...[0xac, 0x84, 0xc0, 0x74, 0x03, 0xee, 0xeb, 0xf8], // again: lodsb; test al, al; jz +3; out dx, al; jmp again
  ...[0xa0, ...word(COUNTER), 0x04, 0x30, 0xee], // mov al, [counter]; add al, '0'; out dx, al
  ...[0xb0, 0x0a, 0xee], // mov al, '\n'; out dx, al
];

/** Enables the power button, polls it at each timer tick, and turns the machine off. */
const heedPowerButton = [
  ...[0xba, ...word(PM.enable), 0xb8, 0x00, 0x01, 0xef], // mov dx, enable; mov ax, button; out dx, ax
  ...[0xf4, 0xba, ...word(PM.status), 0xed], // wait: hlt; mov dx, status; in ax, dx
  ...[0xf6, 0xc4, 0x01, 0x74, 0xf6], // test ah, button; jz wait
  ...[0xba, ...word(PM.control), 0xb8, 0x00, 0x20, 0xef], // mov dx, control; mov ax, sleep enable; out dx, ax
  ...[0xeb, 0xed], // jmp wait
];

/** Data ports of the two interrupt controllers, which hold what they mask. */
const PIC = { first: 0x21, second: 0xa1 } as const;

/**
 * Like {@link heedPowerButton}, but sleeps until the button's interrupt (9, by the second controller), with the timer's and all
 * others masked: dozens that wake at every tick are a tenth of a processor. Looks with interrupts off, so that none comes
 * between the look and the sleep.
 */
const sleepUntilPowerButton = [
  ...[0xb0, 0xfb, 0xe6, PIC.first], // mov al, all but 2, the second controller; out first, al
  ...[0xb0, 0xfd, 0xe6, PIC.second], // mov al, all but 9; out second, al
  ...[0xba, ...word(PM.enable), 0xb8, 0x00, 0x01, 0xef], // mov dx, enable; mov ax, button; out dx, ax
  ...[0xfa, 0xba, ...word(PM.status), 0xed], // look: cli; mov dx, status; in ax, dx
  ...[0xf6, 0xc4, 0x01, 0x75, 0x04], // test ah, button; jnz +4
  ...[0xfb, 0xf4, 0xeb, 0xf2], // sti; hlt; jmp look
  ...[0xba, ...word(PM.control), 0xb8, 0x00, 0x20, 0xef], // mov dx, control; mov ax, sleep enable; out dx, ax
  ...[0xfa, 0xf4, 0xeb, 0xfc], // end: cli; hlt; jmp end
];

/** The same as heedPowerButton, and says back what comes in at COM1 and at the keyboard (INT 16h). */
const sayBack = [
  ...[0xba, ...word(PM.enable), 0xb8, 0x00, 0x01, 0xef], // mov dx, enable; mov ax, button; out dx, ax
  0xf4, // wait: hlt
  ...[0xba, ...word(COM1 + 5), 0xec, 0xa8, 0x01, 0x74, 0x07], // again: mov dx, line status; in al, dx; test al, 1; jz +7
  ...[0xba, ...word(COM1), 0xec, 0xee, 0xeb, 0xf1], // mov dx, COM1; in al, dx; out dx, al; jmp again
  ...[0xb4, 0x01, 0xcd, 0x16, 0x74, 0x0a], // mov ah, 1: is there a key; int 16h; jz +10
  ...[0xb4, 0x00, 0xcd, 0x16, 0xba, ...word(COM1), 0xee, 0xeb, 0xe1], // mov ah, 0: take it; int 16h; mov dx, COM1; out dx, al; jmp again
  ...[0xba, ...word(PM.status), 0xed, 0xf6, 0xc4, 0x01, 0x74, 0xd7], // mov dx, status; in ax, dx; test ah, button; jz wait
  ...[0xba, ...word(PM.control), 0xb8, 0x00, 0x20, 0xef, 0xeb, 0xce], // mov dx, control; mov ax, sleep enable; out dx, ax; jmp wait
];

/** Writes lines of 64 times one letter, a to z and again, as fast as COM1 takes them. */
const talk = [
  ...[0xb3, 0x61], // again: mov bl, 'a'
  ...[0xb9, 0x40, 0x00], // line: mov cx, 64
  ...[0x88, 0xd8, 0xe8, 0x10, 0x00, 0xe2, 0xf9], // next: mov al, bl; call put; loop next
  ...[0xb0, 0x0a, 0xe8, 0x09, 0x00], // mov al, '\n'; call put
  ...[0xfe, 0xc3, 0x80, 0xfb, 0x7b, 0x72, 0xea, 0xeb, 0xe6], // inc bl; cmp bl, 'z' + 1; jb line; jmp again
  ...[0x88, 0xc4, 0xba, ...word(COM1 + 5)], // put: mov ah, al; mov dx, line status
  ...[0xec, 0xa8, 0x20, 0x74, 0xfb], // full: in al, dx; test al, transmitter empty; jz full
  ...[0xba, ...word(COM1), 0x88, 0xe0, 0xee, 0xc3], // mov dx, COM1; mov al, ah; out dx, al; ret
];

const ignoreEverything = [0xfa, 0xf4, 0xeb, 0xfc]; // wait: cli; hlt; jmp wait

/** Reboots by the chipset's reset register until it has booted twice, and is steady then. */
const reboot = [
  ...[0x80, 0x3e, ...word(COUNTER), 0x02], // cmp byte [counter], 2
  ...[0x73, 0x06], // jae +6
  ...[0xba, 0xf9, 0x0c, 0xb0, 0x06, 0xee], // mov dx, 0cf9h; mov al, 6; out dx, al
  ...sayBack,
];

/** In its first boot it arms an i6300esb watchdog (PCI BIOS, INT 1Ah), which expires after two seconds; it is steady, too. */
const arm = [
  ...[0xb8, 0x02, 0xb1, 0xb9, 0xab, 0x25, 0xba, 0x86, 0x80, 0x31, 0xf6, 0xcd, 0x1a], // mov ax, b102h; mov cx, device; mov dx, vendor; xor si, si; int 1ah
  ...[0xb8, 0x0c, 0xb1, 0xbf, 0x60, 0x00, 0xb9, 0x07, 0x00, 0xcd, 0x1a], // mov ax, b10ch; mov di, 60h; mov cx, 1 MHz, no interrupt; int 1ah
  ...[0xb8, 0x0b, 0xb1, 0xbf, 0x68, 0x00, 0xb9, 0x02, 0x00, 0xcd, 0x1a], // mov ax, b10bh; mov di, 68h; mov cx, enable; int 1ah
];
const unattended = [
  ...[0x80, 0x3e, ...word(COUNTER), 0x02], // cmp byte [counter], 2
  ...[0x73, arm.length], // jae past it
  ...arm,
  ...sayBack,
];

/** Turns itself off without being asked. */
const powerOff = [0xba, ...word(PM.control), 0xb8, 0x00, 0x20, 0xef, ...ignoreEverything];

/** Tells the host of a panic by the pvpanic device's port, as a kernel would. */
const panic = [0xba, 0x05, 0x05, 0xb0, 0x01, 0xee, ...ignoreEverything];

/** What the guest `writer` fills: blocks 1 to `count` - 1, each of `bytes` that repeat the block's number as a 16-bit word. */
export const WRITTEN = { count: 1024, bytes: 32 * 1024 } as const;
const SECTORS = WRITTEN.bytes / 512;
const BUFFER_SEGMENT = 0x1000;

/** Fills the disk block by block (INT 13h, AH=43h: disk address packet), says its line again, and is steady. */
function writeMuch(at: number, text: number): number[] {
  const then = [...print(text), ...heedPowerButton];
  const loop = (packet: number): number[] => {
    const body = [
      ...[0xb8, ...word(BUFFER_SEGMENT), 0x8e, 0xc0, 0x31, 0xff], // mov ax, segment; mov es, ax; xor di, di
      ...[0x89, 0xd8, 0xb9, ...word(WRITTEN.bytes / 2), 0xf3, 0xab], // mov ax, bx; mov cx, words; rep stosw
      ...[0x89, 0xd8, 0xc1, 0xe0, Math.log2(SECTORS), 0xa3, ...word(packet + 8)], // mov [sector], bx * sectors
      ...[0xbe, ...word(packet), 0xb8, 0x00, 0x43, 0x5a, 0x52, 0xcd, 0x13], // mov si, packet; mov ax, 4300h; pop dx; push dx; int 13h
      ...[0x43, 0x81, 0xfb, ...word(WRITTEN.count)], // inc bx; cmp bx, count
    ];
    return [0xfc, 0xbb, 0x01, 0x00, ...body, 0x75, 0x100 - (body.length + 2)]; // cld; mov bx, 1; …; jne
  };
  const packet = at + loop(0).length + then.length;
  const address = [0x10, 0x00, ...word(SECTORS), 0x00, 0x00, ...word(BUFFER_SEGMENT), 0, 0, 0, 0, 0, 0, 0, 0];
  return [...loop(packet), ...then, ...address];
}

/** Copies the third sector over the first, says its line again, and is steady. */
const overwrite = (_at: number, text: number): number[] => [
  ...sector(READ, 3, SPARE),
  ...sector(WRITE, 1, SPARE),
  ...print(text),
  ...heedPowerButton,
];

/** Ports of PCI's configuration (mechanism 1): what is asked for, and the answer. */
const PCI = { address: 0xcf8, data: 0xcfc } as const;
/** Screens of {@link painter}: the slot of each card on the root bus, and the colour it is filled with, 0xrrggbb. */
export const PAINTED = [
  { head: 1, slot: 0x14, colour: 0xff0000 },
  { head: 2, slot: 0x15, colour: 0x0000ff },
] as const;
/** Size of what is painted, pixels. */
export const PAINTED_SIZE = { width: 320, height: 200 } as const;
/** Bochs's registers of a card, words in its third region from here on: width, height, depth, enabled with linear memory. */
const DISPI = 0x502;

const dword = (value: number): number[] => [...word(value & 0xffff), ...word(value >>> 16)];

/** Fills the screens of {@link PAINTED} by their registers, as a kernel's driver would, says its line again, and is steady. */
function painter(at: number, text: number): number[] {
  /** A region's address, in EAX. */
  const region = (slot: number, register: number): number[] => [
    ...[0x66, 0xb8, ...dword(0x80000000 + slot * 0x800 + register), 0xba, ...word(PCI.address), 0x66, 0xef], // mov eax, what; mov dx, address; out dx, eax
    ...[0xba, ...word(PCI.data), 0x66, 0xed, 0x24, 0xf0], // mov dx, data; in eax, dx; and al, 0f0h
  ];
  const set = (offset: number, value: number): number[] => [0x64, 0x67, 0xc7, 0x40, offset, ...word(value)]; // mov word fs:[eax + offset], value
  const paint = ({ slot, colour }: (typeof PAINTED)[number]): number[] => [
    ...region(slot, 0x18),
    ...[0x66, 0x05, ...dword(DISPI)], // add eax, registers
    ...[...set(0, PAINTED_SIZE.width), ...set(2, PAINTED_SIZE.height), ...set(4, 32), ...set(6, 0x41)],
    ...region(slot, 0x10),
    ...[0x66, 0x89, 0xc7, 0x66, 0xb8, ...dword(colour)], // mov edi, eax; mov eax, colour
    ...[0x66, 0xb9, ...dword(PAINTED_SIZE.width * PAINTED_SIZE.height)], // mov ecx, pixels
    ...[0x64, 0x67, 0x66, 0x89, 0x07, 0x66, 0x83, 0xc7, 0x04, 0x67, 0xe2, 0xf4], // again: mov fs:[edi], eax; add edi, 4; loop again
  ];
  /** FS reaches all of memory from here on, until a service of the BIOS is called. */
  const flat = (table: number): number[] => [
    ...[0xfa, 0x0f, 0x01, 0x16, ...word(table)], // cli; lgdt [table]
    ...[0x0f, 0x20, 0xc0, 0x0c, 0x01, 0x0f, 0x22, 0xc0], // mov eax, cr0; or al, 1; mov cr0, eax
    ...[0xbb, 0x08, 0x00, 0x8e, 0xe3], // mov bx, 8; mov fs, bx
    ...[0x24, 0xfe, 0x0f, 0x22, 0xc0], // and al, 0feh; mov cr0, eax
  ];
  const body = [...PAINTED.flatMap(paint), 0xfb, ...print(text), ...sayBack]; // …; sti; …
  const table = at + flat(0).length + body.length;
  const entries = [...dword(0), ...dword(0), 0xff, 0xff, 0x00, 0x00, 0x00, 0x92, 0xcf, 0x00];
  return [...flat(table), ...body, ...word(entries.length - 1), ...dword(table + 6), ...entries];
}

const endings = {
  steady: sayBack,
  quiet: sleepUntilPowerButton,
  talker: talk,
  stubborn: ignoreEverything,
  brief: powerOff,
  rebooter: reboot,
  unattended,
  panic,
  writer: writeMuch,
  overwriter: overwrite,
  painter,
} as const;

/** A raw disk of 1 MiB that boots by BIOS. @param third what its third sector holds, for `overwriter` */
export function bootDisk(kind: keyof typeof endings, third: Buffer = Buffer.alloc(0)): Buffer {
  const disk = Buffer.alloc(1024 * 1024);
  const ending = endings[kind];
  const at = ORIGIN + start.length + print(0).length;
  const endingFor = (text: number): readonly number[] =>
    typeof ending === 'function' ? ending(at, text) : ending;
  const text = at + endingFor(0).length;
  const code = [...start, ...print(text), ...endingFor(text), ...Buffer.from('boots=\0', 'latin1')];
  if (code.length > 510) throw new Error('the guest has outgrown its sector');
  Buffer.from(code).copy(disk);
  disk.writeUInt16LE(0xaa55, 510);
  third.copy(disk, 1024);
  return disk;
}
