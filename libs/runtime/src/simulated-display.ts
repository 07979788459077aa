import type { ExitInfo } from '@berth/model';
import { ByteReader } from './byte-reader.js';
import type { Picture } from './png.js';
import { rfbEncoding, rfbFromClient, rfbFromServer, rfbPixelFormat, rfbSecurity, rfbVersion } from './rfb.js';
import { SimulatedTerminal } from './simulated-terminal.js';
import { TerminalPipe } from './terminal-pipe.js';

/** The screen, pixels, and the squares on it, one for each byte of the log. */
const [width, height, square] = [160, 96, 8];
const columns = width / square;
const squares = columns * (height / square);

/** A screen with the end of a log: each byte a square of its colour, on black. */
export function simulatedScreen(log: string): Picture {
  const rgb = Buffer.alloc(width * height * 3);
  const shown = Buffer.from(log).subarray(-squares);
  for (const [i, byte] of shown.entries()) {
    const [left, top] = [(i % columns) * square, Math.floor(i / columns) * square];
    const colour = Buffer.from([byte, (byte * 7) & 0xff, (byte * 31) & 0xff]);
    for (let y = top; y < top + square; y += 1)
      rgb.fill(colour, (y * width + left) * 3, (y * width + left + square) * 3);
  }
  return { width, height, rgb };
}

interface Guest {
  readonly type: (text: string) => void;
  /** The log, from its beginning on. */
  readonly follow: (signal: AbortSignal) => AsyncIterable<Uint8Array>;
  readonly screen: () => Picture;
  readonly ended: Promise<ExitInfo | null>;
}

/** An RFB server over the screen of a simulated guest: raw pixels, and a keyboard of Latin-1. */
export class SimulatedDisplay extends SimulatedTerminal {
  private readonly typed = new TerminalPipe();
  /** The client waits for a change. */
  private wanted = false;
  /** Where red, green and blue lie in a pixel of the client's, bits. */
  private shifts: readonly number[] = [0, 8, 16];

  constructor(
    private readonly guest: Guest,
    signal: AbortSignal,
  ) {
    super(guest.ended, signal);
    this.over.signal.addEventListener('abort', () => this.typed.cut(), { once: true });
    void this.serve();
    void this.watch();
  }

  write(bytes: Uint8Array): Promise<void> {
    return this.typed.push({ channel: 'output', bytes });
  }

  private async serve(): Promise<void> {
    const reader = new ByteReader(bytesOf(this.typed));
    await this.say(rfbVersion);
    await reader.take(rfbVersion.length);
    await this.send(Buffer.from([1, rfbSecurity.none]));
    await reader.take(1);
    await this.send(Buffer.alloc(4));
    await reader.take(1);
    const title = Buffer.from('simulated');
    const start = Buffer.alloc(24);
    start.writeUInt16BE(width, 0);
    start.writeUInt16BE(height, 2);
    rfbPixelFormat.copy(start, 4);
    start.writeUInt32BE(title.length, 20);
    await this.send(Buffer.concat([start, title]));
    for (let kind = await reader.take(1); kind !== null; kind = await reader.take(1))
      await this.heed(kind[0] ?? -1, async (count) => (await reader.take(count)) ?? Buffer.alloc(count));
  }

  private async heed(kind: number, read: (count: number) => Promise<Buffer>): Promise<void> {
    if (kind === rfbFromClient.setPixelFormat) {
      this.shifts = [...(await read(19)).subarray(13, 16)];
    } else if (kind === rfbFromClient.setEncodings) {
      await read(4 * (await read(3)).readUInt16BE(1));
    } else if (kind === rfbFromClient.framebufferUpdateRequest) {
      const incremental = (await read(9))[0] === 1;
      if (incremental) this.wanted = true;
      else await this.update();
    } else if (kind === rfbFromClient.keyEvent) {
      const event = await read(7);
      const keysym = event.readUInt32BE(3);
      if (event[0] === 1 && keysym < 0x100) this.guest.type(String.fromCharCode(keysym));
    } else if (kind === rfbFromClient.pointerEvent) await read(5);
    else if (kind === rfbFromClient.clientCutText) await read((await read(7)).readUInt32BE(3));
    else this.end({ reason: 'failed', message: `no message has kind ${kind}` });
  }

  private async watch(): Promise<void> {
    for await (const _ of this.guest.follow(this.over.signal)) if (this.wanted) await this.update();
  }

  private async update(): Promise<void> {
    this.wanted = false;
    const { rgb } = this.guest.screen();
    const head = Buffer.alloc(16);
    head.writeUInt8(rfbFromServer.framebufferUpdate, 0);
    head.writeUInt16BE(1, 2);
    head.writeUInt16BE(width, 8);
    head.writeUInt16BE(height, 10);
    head.writeInt32BE(rfbEncoding.raw, 12);
    const pixels = Buffer.alloc(width * height * 4);
    const [red = 0, green = 0, blue = 0] = this.shifts;
    for (let i = 0; i < width * height; i += 1) {
      const [r = 0, g = 0, b = 0] = rgb.subarray(3 * i, 3 * i + 3);
      pixels.writeUInt32LE(((r << red) | (g << green) | (b << blue)) >>> 0, 4 * i);
    }
    await this.send(Buffer.concat([head, pixels]));
  }

  private send(bytes: Buffer): Promise<void> {
    return this.pipe.push({ channel: 'output', bytes });
  }
}

async function* bytesOf(pipe: TerminalPipe): AsyncGenerator<Uint8Array> {
  for await (const { bytes } of pipe) yield bytes;
}
