import type { LinkAnswer, LinkRequest } from '@berth/link';
import type { VolumeId } from '@berth/model';
import { refusalOf } from './refusal.js';
import { ableTo, type Runtimes } from './runtimes.js';

/** Exports of one host that are read at a time: each holds a stream of the link, which lists, reports and logs need too. */
const atOnce = 16;

/** Gives the API the files that were made of volumes. Which of them may be read, and by whom, the API decides. */
export class VolumeExports {
  private reading = 0;

  constructor(private readonly runtimes: Pick<Runtimes, 'ready'>) {}

  /** From the byte `from` on; the API ends it when it has enough. */
  async read(volumeId: VolumeId, { query, signal }: LinkRequest): Promise<LinkAnswer> {
    const from = Number(query.get('from') ?? '0');
    if (!Number.isSafeInteger(from) || from < 0)
      return { status: 400, body: { code: 'malformed', message: 'from is no offset in a file' } };
    if (this.reading >= atOnce)
      return {
        status: 429,
        body: { code: 'rateLimited', message: `${atOnce} exports of this host are read already` },
      };
    this.reading += 1;
    const leave = (): void => void (this.reading -= 1);
    if (signal.aborted) leave();
    else signal.addEventListener('abort', leave, { once: true });
    try {
      const able = ableTo(this.runtimes, 'readExport', 'exports volumes');
      return { status: 200, body: await able.readExport(volumeId, from, signal) };
    } catch (error) {
      return refusalOf(error);
    }
  }
}
