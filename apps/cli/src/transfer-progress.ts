import { bytes } from './output.js';
import { isTerminal } from './terminal.js';

/** Milliseconds between two looks at the same line. */
const everyMs = 100;

/**
 * Shows on one line of a terminal how much of a file has gone; says nothing elsewhere. `end` leaves the line clean.
 * @param last what is shown when all has gone, behind how much it was
 */
export function transferProgress(out: NodeJS.WriteStream, now: () => number, last: string) {
  const begun = now();
  let shownAt = -Infinity;
  const live = isTerminal(out);
  return {
    /** @param of null where nobody knows how much there is */
    sent: (sent: number, of: number | null): void => {
      const over = of !== null && sent >= of;
      if (!live || (now() - shownAt < everyMs && !over)) return;
      shownAt = now();
      const rate = `${bytes((sent * 1000) / Math.max(1, shownAt - begun))}/s`;
      const line = over
        ? `${bytes(of)} ${last}`
        : of === null
          ? `${bytes(sent)}, ${rate}`
          : `${bytes(sent)} of ${bytes(of)}, ${Math.floor((sent / of) * 100)} %, ${rate}`;
      out.write(`\r\u001b[K${line}`);
    },
    end: (): void => void (live && out.write('\r\u001b[K')),
  };
}
