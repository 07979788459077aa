/** The pieces of a source, which may take its time. @throws the signal's reason when it fires, whatever the source waits for */
export async function* piecesUntil(
  source: AsyncIterable<Uint8Array>,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  signal.throwIfAborted();
  const pieces = source[Symbol.asyncIterator]();
  let leave: () => void = () => undefined;
  const over = new Promise<never>((_, reject) => {
    leave = () => reject(signal.reason as Error);
    signal.addEventListener('abort', leave, { once: true });
  });
  over.catch(() => undefined);
  try {
    for (;;) {
      const next = await Promise.race([pieces.next(), over]);
      if (next.done === true) return;
      yield next.value;
    }
  } finally {
    signal.removeEventListener('abort', leave);
    // Not waited for: it may be waiting itself.
    void Promise.resolve(pieces.return?.()).catch(() => undefined);
  }
}
