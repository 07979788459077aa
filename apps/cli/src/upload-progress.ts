import { bytes } from './output.js';
import { isTerminal } from './terminal.js';

/** Milliseconds between two looks at the same line. */
const everyMs = 100;

/**
 * Shows on one line of a terminal how much of an upload has gone; says nothing elsewhere. `end` leaves the line clean.
 */
export function uploadProgress(out: NodeJS.WriteStream, now: () => number) {
  const begun = now();
  let shownAt = -Infinity;
  const live = isTerminal(out);
  return {
    sent: (sent: number, of: number): void => {
      if (!live || (now() - shownAt < everyMs && sent < of)) return;
      shownAt = now();
      const rate = (sent * 1000) / Math.max(1, shownAt - begun);
      const part = `${Math.floor((sent / of) * 100)} %`;
      const line =
        sent < of
          ? `${bytes(sent)} of ${bytes(of)}, ${part}, ${bytes(rate)}/s`
          : `${bytes(of)} sent, being verified`;
      out.write(`\r\u001b[K${line}`);
    },
    end: (): void => void (live && out.write('\r\u001b[K')),
  };
}
