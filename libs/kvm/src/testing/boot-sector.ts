/*
 * A guest of 512 bytes, assembled by hand: it adds one to a counter in the second sector, writes `boots=<n>` to COM1
 * and then waits for the power button. SeaBIOS starts it in a fraction of a second, also when emulated.
 */

const COUNTER = 0x7e00;
const ORIGIN = 0x7c00;
const COM1 = 0x3f8;
/** Where SeaBIOS puts the chipset's power management registers: status, enable, control. */
const PM = { status: 0x600, enable: 0x602, control: 0x604 } as const;

const word = (value: number): number[] => [value & 0xff, value >> 8];

/** BIOS disk service 13h on sector 2 of the boot drive, whose number lies on the stack. */
const secondSector = (service: number): number[] => [
  ...[0x5a, 0x52], // pop dx; push dx
  ...[0xb8, 0x01, service], // mov ax, service << 8 | one sector
  ...[0xbb, ...word(COUNTER)], // mov bx, buffer
  ...[0xb9, 0x02, 0x00], // mov cx, cylinder 0, sector 2
  ...[0xb6, 0x00], // mov dh, head 0
  ...[0xcd, 0x13], // int 13h
];

const start = [
  ...[0x31, 0xc0, 0x8e, 0xd8, 0x8e, 0xc0, 0x8e, 0xd0], // xor ax, ax; mov ds, es, ss = ax
  ...[0xbc, ...word(ORIGIN), 0xfb], // mov sp, origin; sti
  0x52, // push dx: the boot drive
  ...secondSector(0x02), // read
  ...[0xfe, 0x06, ...word(COUNTER)], // inc byte [counter]
  ...secondSector(0x03), // write
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

const ignoreEverything = [0xf4, 0xeb, 0xfd]; // wait: hlt; jmp wait

/** Turns itself off without being asked. */
const powerOff = [0xba, ...word(PM.control), 0xb8, 0x00, 0x20, 0xef, ...ignoreEverything];

/** Tells the host of a panic by the pvpanic device's port, as a kernel would. */
const panic = [0xba, 0x05, 0x05, 0xb0, 0x01, 0xee, ...ignoreEverything];

const endings = { steady: heedPowerButton, stubborn: ignoreEverything, brief: powerOff, panic } as const;

/** A raw disk of 1 MiB that boots by BIOS. */
export function bootDisk(kind: keyof typeof endings): Buffer {
  const disk = Buffer.alloc(1024 * 1024);
  const size = start.length + print(0).length + endings[kind].length;
  const text = ORIGIN + size;
  Buffer.from([...start, ...print(text), ...endings[kind], ...Buffer.from('boots=\0', 'latin1')]).copy(disk);
  disk.writeUInt16LE(0xaa55, 510);
  return disk;
}
