import {
  terminalChannels,
  terminalMessageBytes,
  type TerminalFlow,
  type TerminalNotice,
  type TerminalOrder,
} from '@berth/model';

/** What a terminal's WebSocket brings: bytes of a channel, or a notice. `exit` and `problem` are the last. */
export type TerminalMessage =
  | { readonly type: 'bytes'; readonly channel: 'output' | 'errorOutput'; readonly bytes: Uint8Array }
  | TerminalNotice;

/** Reads a message of the API; binary ones must come as bytes. @throws SyntaxError when the API breaks its contract */
export function terminalMessage(data: string | Uint8Array): TerminalMessage {
  if (typeof data === 'string') return JSON.parse(data) as TerminalNotice;
  const channel = data[0] === terminalChannels.errorOutput ? 'errorOutput' : 'output';
  return { type: 'bytes', channel, bytes: data.subarray(1) };
}

/** Bytes that were typed, as messages; cut where they are too long for one. */
export function inputMessages(bytes: Uint8Array): Uint8Array<ArrayBuffer>[] {
  const most = terminalMessageBytes - 1;
  return Array.from({ length: Math.ceil(bytes.length / most) }, (_, i) => {
    const piece = bytes.subarray(i * most, (i + 1) * most);
    const message = new Uint8Array(1 + piece.length);
    message[0] = terminalChannels.input;
    message.set(piece, 1);
    return message;
  });
}

export const orderMessage = (order: TerminalOrder | TerminalFlow): string => JSON.stringify(order);
