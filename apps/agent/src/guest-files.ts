import { fileAnswer, LinkError, type LinkAnswer, type LinkRequest } from '@berth/link';
import { FileTarget, GuestPath, type InstanceId } from '@berth/model';
import { RuntimeError, type FilesFacet, type WorkloadKey } from '@berth/runtime';
import type { Placements } from './placements.js';
import { refusalOf } from './refusal.js';

/** Files of one host that are copied at a time: each holds a stream of the link, which lists, reports and logs need too. */
const atOnce = 16;

/** The agent's side of copies into and out of what runs: a VM by the agent in its guest, all else by its runtime. */
export class GuestFiles {
  private copying = 0;

  constructor(private readonly placements: Pick<Placements, 'newest'>) {}

  read(instanceId: InstanceId, { query, signal }: LinkRequest): Promise<LinkAnswer> {
    const path = parsed(GuestPath, query.get('path'));
    return this.copied(instanceId, signal, async (files, key) => {
      const { sizeBytes, bytes } = await files.readFile(key, path, signal);
      return { status: 200, body: fileAnswer(sizeBytes, bytes) };
    });
  }

  write(instanceId: InstanceId, { query, stream, signal }: LinkRequest): Promise<LinkAnswer> {
    const target = parsed(FileTarget, { path: query.get('path'), mode: query.get('mode') });
    return this.copied(instanceId, signal, async (files, key) => {
      const source = stream as AsyncIterable<Buffer>;
      return { status: 200, body: { bytes: await files.writeFile(key, target, source, signal) } };
    });
  }

  /** Counts it until its request is over. */
  private async copied(
    instanceId: InstanceId,
    over: AbortSignal,
    copy: (files: FilesFacet, key: WorkloadKey) => Promise<LinkAnswer>,
  ): Promise<LinkAnswer> {
    const newest = this.placements.newest(instanceId);
    if ('refusal' in newest) return newest.refusal;
    if (this.copying >= atOnce)
      return {
        status: 429,
        body: { code: 'rateLimited', message: `this host copies ${atOnce} files of guests already` },
      };
    this.copying += 1;
    const leave = (): void => void (this.copying -= 1);
    if (over.aborted) leave();
    else over.addEventListener('abort', leave, { once: true });
    try {
      const { files, guest, name } = newest.runtime;
      // Into a machine that boots a disk of its own its agent is the only way.
      const way = newest.isolation === 'vm' ? guest : files;
      if (way === undefined) throw new RuntimeError('unsupported', `${name} copies no files`);
      return await copy(way, newest.key);
    } catch (error) {
      return refusalOf(error);
    }
  }
}

function parsed<T>(schema: { safeParse(v: unknown): { success: boolean; data?: T } }, value: unknown): T {
  const result = schema.safeParse(value);
  if (!result.success) throw new LinkError('malformed', 'the file is not named as it should be');
  return result.data as T;
}
