/** One server-sent event (WHATWG HTML section 9.2). */
export interface SseMessage {
  readonly id: string | null;
  readonly event: string;
  readonly data: string;
}

/** Longest line taken before a stream counts as broken, characters. */
const maxLine = 8 * 1024 * 1024;

/**
 * Messages of an event stream; comment lines are left out. An id without data is no message: it says where the stream is.
 * @throws Error on a line without end
 */
export async function* sseMessages(
  body: ReadableStream<Uint8Array>,
  isAt: (id: string) => void = () => undefined,
): AsyncGenerator<SseMessage> {
  let id: string | null = null;
  let event = '';
  let data: string[] = [];
  for await (const line of lines(body)) {
    if (line === '') {
      if (data.length === 0 && id !== null) isAt(id);
      if (data.length > 0) yield { id, event: event === '' ? 'message' : event, data: data.join('\n') };
      event = '';
      data = [];
      continue;
    }
    const colon = line.indexOf(':');
    if (colon === 0) continue;
    const field = colon === -1 ? line : line.slice(0, colon);
    const value = colon === -1 ? '' : line.slice(colon + 1).replace(/^ /, '');
    if (field === 'id' && !value.includes('\0')) id = value;
    else if (field === 'event') event = value;
    else if (field === 'data') data.push(value);
  }
}

/** Lines of a body, as they come. @throws Error on a line without end */
export async function* lines(body: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let rest = '';
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      rest += decoder.decode(value, { stream: true });
      // A carriage return at the end may be half of a CRLF: it waits for the next bytes.
      const parts = rest.split(/\r\n|\n|\r(?!$)/);
      rest = parts.pop() ?? '';
      if (rest.length > maxLine) throw new Error('the stream holds a line without end');
      yield* parts;
    }
  } finally {
    await reader.cancel().catch(() => undefined);
  }
}
