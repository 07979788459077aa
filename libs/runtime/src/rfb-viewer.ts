import { ByteReader } from './byte-reader.js';
import type { Picture } from './png.js';
import {
  rfbEncoding,
  rfbFromClient,
  rfbFromServer,
  rfbPixelBytes,
  rfbPixelFormat,
  rfbSecurity,
  rfbVersion,
} from './rfb.js';

/** A connection to an RFB server. It ends when its output does. */
export interface RfbStream {
  readonly output: AsyncIterable<Uint8Array>;
  write(bytes: Uint8Array): unknown;
}

/** The other side is no RFB server that this one understands, or went away. */
export class RfbError extends Error {
  override readonly name = 'RfbError';
}

/** The largest screen that is read, pixels: what a hostile server could make us hold. */
const mostPixels = 4096 * 4096;
const mostText = 1024 * 1024;

/** Looks at a screen over RFB: asks for all of it, and gives it back as a picture. */
export class RfbViewer {
  private constructor(
    private readonly stream: RfbStream,
    private readonly read: (count: number) => Promise<Buffer>,
    private canvas: Canvas,
    /** What the server calls its screen. */
    readonly title: string,
  ) {}

  /** Agrees on everything (sections 7.1 to 7.3): no authentication, shared, true colour. @throws RfbError */
  static async connect(stream: RfbStream): Promise<RfbViewer> {
    const reader = new ByteReader(stream.output);
    const read = async (count: number): Promise<Buffer> => {
      const bytes = await reader.take(count);
      if (bytes === null) throw new RfbError('the display ended');
      return bytes;
    };
    const version = (await read(rfbVersion.length)).toString('latin1');
    if (version !== rfbVersion) throw new RfbError(`the display speaks ${JSON.stringify(version)}`);
    await stream.write(Buffer.from(rfbVersion, 'latin1'));
    const [kinds = 0] = await read(1);
    if (kinds === 0) throw new RfbError(`the display refuses: ${await text(read, 4)}`);
    if (!(await read(kinds)).includes(rfbSecurity.none))
      throw new RfbError('the display asks for a password');
    await stream.write(Buffer.from([rfbSecurity.none]));
    if ((await read(4)).readUInt32BE() !== 0)
      throw new RfbError(`the display refuses: ${await text(read, 4)}`);
    const shared = 1;
    await stream.write(Buffer.from([shared]));
    const start = await read(20);
    const canvas = new Canvas(start.readUInt16BE(0), start.readUInt16BE(2));
    const viewer = new RfbViewer(stream, read, canvas, await text(read, 4));
    await stream.write(
      Buffer.concat([
        Buffer.from([rfbFromClient.setPixelFormat, 0, 0, 0]),
        rfbPixelFormat,
        encodings(rfbEncoding.raw, rfbEncoding.desktopSize),
      ]),
    );
    return viewer;
  }

  /** The whole screen as it is now. @throws RfbError */
  async picture(): Promise<Picture> {
    this.canvas.forget();
    await this.ask();
    while (this.canvas.missing > 0) await this.heed();
    return this.canvas.picture();
  }

  /**
   * Presses keys together and lets them go. A character that needs shift does so here: the other side does not press it.
   * @param keysyms of X11; for Latin-1 the character's code
   */
  async press(...keysyms: number[]): Promise<void> {
    const down = keysyms.map((keysym) => [keysym, 1] as const);
    const up = keysyms.map((keysym) => [keysym, 0] as const).reverse();
    for (const [keysym, state] of [...down, ...up]) {
      const event = Buffer.alloc(8);
      event.set([rfbFromClient.keyEvent, state]);
      event.writeUInt32BE(keysym, 4);
      await this.stream.write(event);
    }
  }

  /** Moves the pointer to a place on the screen, in its own pixels, with no button down. */
  async point(x: number, y: number): Promise<void> {
    const event = Buffer.alloc(6);
    event.writeUInt8(rfbFromClient.pointerEvent, 0);
    event.writeUInt16BE(x, 2);
    event.writeUInt16BE(y, 4);
    await this.stream.write(event);
  }

  private async ask(): Promise<void> {
    const request = Buffer.alloc(10);
    request.writeUInt8(rfbFromClient.framebufferUpdateRequest, 0);
    request.writeUInt16BE(this.canvas.width, 6);
    request.writeUInt16BE(this.canvas.height, 8);
    await this.stream.write(request);
  }

  /** One message of the server. */
  private async heed(): Promise<void> {
    const [kind = -1] = await this.read(1);
    if (kind === rfbFromServer.framebufferUpdate) return this.update();
    if (kind === rfbFromServer.bell) return;
    if (kind !== rfbFromServer.serverCutText)
      throw new RfbError(`the display sends messages of kind ${kind}`);
    await this.read(3);
    await text(this.read, 4);
  }

  private async update(): Promise<void> {
    const rectangles = (await this.read(3)).readUInt16BE(1);
    let resized = false;
    for (let i = 0; i < rectangles; i += 1) {
      const head = await this.read(12);
      const [x, y, width, height] = [0, 2, 4, 6].map((at) => head.readUInt16BE(at)) as Four;
      const encoding = head.readInt32BE(8);
      if (encoding === rfbEncoding.desktopSize) {
        this.canvas = new Canvas(width, height);
        resized = true;
      } else if (encoding === rfbEncoding.raw) await this.rectangle(x, y, width, height);
      else throw new RfbError(`the display sends the encoding ${encoding}`);
    }
    // What was answered may be of the size before, or a part.
    if (resized || this.canvas.missing > 0) await this.ask();
  }

  private async rectangle(x: number, y: number, width: number, height: number): Promise<void> {
    for (let row = 0; row < height; row += 1)
      this.canvas.put(x, y + row, await this.read(width * rfbPixelBytes));
  }
}
type Four = [number, number, number, number];

function encodings(...wanted: number[]): Buffer {
  const message = Buffer.alloc(4 + 4 * wanted.length);
  message.writeUInt8(rfbFromClient.setEncodings, 0);
  message.writeUInt16BE(wanted.length, 2);
  for (const [i, encoding] of wanted.entries()) message.writeInt32BE(encoding, 4 + 4 * i);
  return message;
}

/** Text behind its length. */
async function text(read: (count: number) => Promise<Buffer>, lengthBytes: number): Promise<string> {
  const length = (await read(lengthBytes)).readUIntBE(0, lengthBytes);
  if (length > mostText) throw new RfbError(`the display sends a text of ${length} bytes`);
  return length === 0 ? '' : (await read(length)).toString('utf8');
}

/** A screen as far as it has come. */
class Canvas {
  /** Pixels that have not come. */
  missing: number;
  private readonly rgb: Buffer;
  private readonly come: Uint8Array;

  constructor(
    readonly width: number,
    readonly height: number,
  ) {
    if (width * height > mostPixels || width * height === 0)
      throw new RfbError(`the display has ${width} by ${height} pixels`);
    this.missing = width * height;
    this.rgb = Buffer.alloc(this.missing * 3);
    this.come = new Uint8Array(this.missing);
  }

  /** Nothing has come. */
  forget(): void {
    this.come.fill(0);
    this.missing = this.width * this.height;
  }

  /** Pixels of one row, from `x` on. @throws RfbError outside of the screen */
  put(x: number, y: number, pixels: Buffer): void {
    const count = pixels.length / rfbPixelBytes;
    if (y >= this.height || x + count > this.width)
      throw new RfbError('the display sends more than its screen');
    for (let i = 0, at = y * this.width + x; i < count; i += 1, at += 1) {
      for (let c = 0; c < 3; c += 1) this.rgb[at * 3 + c] = pixels[i * rfbPixelBytes + c] as number;
      if (this.come[at] === 1) continue;
      this.come[at] = 1;
      this.missing -= 1;
    }
  }

  picture(): Picture {
    return { width: this.width, height: this.height, rgb: Buffer.from(this.rgb) };
  }
}
