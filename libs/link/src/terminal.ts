import { InstanceId, TerminalEnd, TerminalOpen, TerminalOrder, terminalChannels } from '@berth/model';
import { z } from 'zod';
import { LinkError } from './door.js';

/*
 * A terminal on the link is one request whose body and answer both go on: POST /terminals/<instanceId>, bytes in frames
 *
 *   kind (1 byte)  length of the payload (4 bytes, big-endian)  payload
 *
 * Kinds 0 to 2 are the channels of a terminal; `control` is JSON: first `TerminalOpen`, then `TerminalOrder` from the
 * API; one `TerminalEnd` from the agent, last. The end of the API's body closes the terminal. HTTP/2 flow control holds
 * up whichever side is too fast.
 */

const control = 3;
const headBytes = 5;
/** Longest payload of one frame, bytes. */
export const terminalFrameBytes = 64 * 1024;

export type TerminalFrame =
  { readonly kind: number; readonly bytes: Buffer } | { readonly kind: 'control'; readonly text: string };

/** Bytes of a channel as frames, cut where they are too long for one. */
export function channelFrames(channel: keyof typeof terminalChannels, bytes: Uint8Array): Buffer {
  const frames: Buffer[] = [];
  for (let at = 0; at < bytes.length; at += terminalFrameBytes)
    frames.push(frame(terminalChannels[channel], bytes.subarray(at, at + terminalFrameBytes)));
  return Buffer.concat(frames);
}

/** An order, an opening or an end. @throws LinkError tooLarge */
export function controlFrame(message: TerminalOpen | TerminalOrder | TerminalEnd): Buffer {
  const bytes = Buffer.from(JSON.stringify(message));
  // An opening carries the arguments and environment of a program, which may be longer than a piece of output.
  if (bytes.length > controlBytes) throw new LinkError('tooLarge', 'the request is too large for the link');
  return frame(control, bytes);
}
const controlBytes = 1024 * 1024;

function frame(kind: number, payload: Uint8Array): Buffer {
  const bytes = Buffer.allocUnsafe(headBytes + payload.length);
  bytes.writeUInt8(kind, 0);
  bytes.writeUInt32BE(payload.length, 1);
  bytes.set(payload, headBytes);
  return bytes;
}

/** Frames of a stream; holds one frame and one chunk at most. @throws LinkError malformed */
export async function* terminalFrames(stream: AsyncIterable<Buffer>): AsyncGenerator<TerminalFrame> {
  let held: Buffer = Buffer.alloc(0);
  for await (const chunk of stream) {
    held = held.length === 0 ? chunk : Buffer.concat([held, chunk]);
    while (held.length >= headBytes) {
      const kind = held.readUInt8(0);
      const length = held.readUInt32BE(1);
      if (kind > control || length > (kind === control ? controlBytes : terminalFrameBytes))
        throw new LinkError('malformed', `no terminal frame has kind ${kind} and ${length} bytes`);
      if (held.length < headBytes + length) break;
      const payload = held.subarray(headBytes, headBytes + length);
      held = held.subarray(headBytes + length);
      yield kind === control ? { kind: 'control', text: payload.toString('utf8') } : { kind, bytes: payload };
    }
  }
}

/** Path of the request. */
export const terminalPath = (instanceId: z.infer<typeof InstanceId>): string => `/terminals/${instanceId}`;
