import { createReadStream } from 'node:fs';
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import type { IncomingMessage } from 'node:http';
import { dirname } from 'node:path';
import type { StoredBlob } from '@berth/images';
import { BerthError, type ImageSources } from '@berth/model';
import { z } from 'zod';
import { refusal } from './download.js';
import { bodyOf, type RegistryClient } from './registry-client.js';
import { Interrupted } from './source-get.js';

/*
 * One blob on its way to a registry (OCI distribution specification 1.1, "Push"):
 *
 *   HEAD: there | POST mount: taken over from another repository | POST: an upload -> PATCH, part by part -> PUT digest
 *                                                                      ^ cut: GET says how much there is, PATCH from there
 */

/** Where an upload goes on, kept in a file that outlives this process. */
export class UploadPlace {
  constructor(private readonly file: string) {}

  /** Null where nothing is kept, or it is of another blob. */
  async of(digest: string): Promise<string | null> {
    try {
      const kept = Kept.parse(JSON.parse(await readFile(this.file, 'utf8')));
      return kept.digest === digest ? kept.at : null;
    } catch {
      return null; // never written, or cut short: the upload is begun anew
    }
  }

  async keep(digest: string, at: URL): Promise<void> {
    await mkdir(dirname(this.file), { recursive: true, mode: 0o700 });
    const next = `${this.file}.next`;
    await writeFile(next, JSON.stringify({ digest, at: at.href }), { mode: 0o600 });
    await rename(next, this.file);
  }

  forget(): Promise<void> {
    return rm(this.file, { force: true });
  }
}
const Kept = z.strictObject({ digest: z.string(), at: z.string() });

export interface UploadPorts {
  readonly client: RegistryClient;
  readonly blob: StoredBlob;
  /** The file with its bytes. */
  readonly path: string;
  /** Of one request, at most, unless the registry wants more or takes no parts, bytes. */
  readonly partBytes: number;
  readonly place: UploadPlace;
  /** Repositories of this registry that are said to have it. */
  readonly elsewhere: readonly string[];
  readonly sources: () => Promise<ImageSources>;
  /** The registry has so many bytes of it by now. */
  readonly sent: (bytes: number) => Promise<void>;
  readonly signal: AbortSignal;
}

type UploadEnd = 'there' | 'mounted' | 'sent';

/** Of what a registry says in words, bytes. */
const saidMost = 64 * 1024;
const octets = { 'content-type': 'application/octet-stream' };
/** Answers to one part of several that say nothing of the blob as a whole: it may be taken in one piece. */
const noParts = new Set([400, 405, 411, 415, 416, 422, 501]);

/** Tries of one blob, which go on with each other. */
export class BlobUpload {
  private at: URL | null = null;
  private offset = 0;
  /** Least part that the registry takes, bytes. */
  private least = 0;
  /** This registry did not take it in parts. */
  private whole = false;
  /** A part was not where the registry has its end; it was asked once where that is. */
  private asked = false;
  /** What the registry has was sent by several requests. */
  private joined = false;

  constructor(private readonly o: UploadPorts) {}

  /** What the registry has of it, bytes. */
  get bytes(): number {
    return this.offset;
  }

  /** One try. @throws BerthError for good; Interrupted: the next goes on where this one broke off, as far as the registry lets it */
  async attempt(): Promise<UploadEnd> {
    const { client, blob, sources: sourcesOf, signal, place } = this.o;
    const sources = await sourcesOf();
    const there = await client.send({ method: 'HEAD', path: `blobs/${blob.digest}` }, sources, signal);
    there.destroy();
    if (there.statusCode === 200) return 'there';
    if (there.statusCode !== 404) throw await pushRefused(there);
    if (!(await this.goOn(sources)) && (await this.begin(sources))) return 'mounted';
    while (this.offset < blob.sizeBytes) await this.part(sources);
    await this.end(sources);
    await place.forget();
    return 'sent';
  }

  /** Asks the registry how much it has of an upload that broke off; false where there is none to go on with. */
  private async goOn(sources: ImageSources): Promise<boolean> {
    const { client, blob, place, signal } = this.o;
    const kept = this.at?.href ?? (await place.of(blob.digest));
    if (kept === null) return false;
    const at = client.next(kept);
    const answer = await client.send({ method: 'GET', at }, sources, signal);
    answer.destroy();
    const { statusCode: status = 0, headers } = answer;
    if (status >= 500 || status === 429) throw refusal(answer);
    const told = endOf(answer) ?? 0;
    if (status !== 204 || told > blob.sizeBytes) {
      await this.anew();
      return false;
    }
    this.at = headers.location === undefined ? at : client.next(headers.location);
    this.offset = told;
    this.joined = told > 0;
    await this.o.sent(told);
    return true;
  }

  /** Begins an upload; true where the registry took the blob over from another repository instead. */
  private async begin(sources: ImageSources): Promise<boolean> {
    const { client, signal } = this.o;
    for (const from of this.o.elsewhere) {
      const answer = await this.mount(from, sources);
      if (answer?.statusCode === 201) {
        answer.destroy();
        return true;
      }
      // An upload all the same: the other repository does not have it.
      if (answer?.statusCode === 202) {
        await this.begun(answer);
        return false;
      }
      answer?.destroy();
    }
    await this.begun(await client.send({ method: 'POST', path: 'blobs/uploads/' }, sources, signal));
    return false;
  }

  /** "Mounting a blob from another repository". Null: whoever signed in may not read there. */
  private async mount(from: string, sources: ImageSources): Promise<IncomingMessage | null> {
    const { client, blob, signal } = this.o;
    const path = `blobs/uploads/?${new URLSearchParams({ mount: blob.digest, from }).toString()}`;
    try {
      return await client.send({ method: 'POST', path }, sources, signal);
    } catch (error) {
      if (error instanceof BerthError && error.code === 'forbidden') return null;
      throw error;
    }
  }

  private async begun(answer: IncomingMessage): Promise<void> {
    this.offset = 0;
    this.joined = false;
    this.at = await this.locationOf(answer, 202);
    const least = answer.headers['oci-chunk-min-length'];
    this.least = typeof least === 'string' && /^\d{1,12}$/.test(least) ? Number(least) : 0;
    await this.o.place.keep(this.o.blob.digest, this.at);
  }

  /** Sends what comes next: all of it, or a part ("Pushing a blob in chunks"). */
  private async part(sources: ImageSources): Promise<void> {
    const { client, blob, path, partBytes, place, signal } = this.o;
    const [from, size] = [this.offset, blob.sizeBytes];
    const length = this.whole ? size - from : Math.min(size - from, Math.max(partBytes, this.least));
    const isPart = length < size;
    const end = from + length - 1;
    const answer = await client.send(
      {
        method: 'PATCH',
        at: this.here,
        headers: isPart ? { ...octets, 'content-range': `${from}-${end}` } : octets,
        body: () => createReadStream(path, { start: from, end }),
        length,
      },
      sources,
      signal,
    );
    if (isPart && noParts.has(answer.statusCode ?? 0)) throw await this.notTaken(answer);
    if (answer.statusCode === 404 || answer.statusCode === 416) await this.anew();
    const told = endOf(answer);
    this.at = await this.locationOf(answer, 202, 201, 204);
    if (told !== null && (told <= from || told > from + length)) {
      await this.anew();
      throw new Interrupted(`the registry says it has ${told} bytes, of ${from + length} that it was sent`);
    }
    this.offset = told ?? from + length;
    this.joined ||= from > 0;
    this.asked = false;
    await place.keep(blob.digest, this.at);
    await this.o.sent(this.offset);
  }

  /** A part is somewhere else than the registry wants it, which is asked once; or the registry takes no parts. */
  private async notTaken(answer: IncomingMessage): Promise<Interrupted> {
    answer.destroy();
    if (answer.statusCode === 416 && !this.asked) {
      this.asked = true;
      return new Interrupted('the registry has another part of the upload than it was sent');
    }
    this.whole = true;
    await this.anew();
    return new Interrupted(`the registry answered ${answer.statusCode} to a part: it is sent in one piece`);
  }

  private async end(sources: ImageSources): Promise<void> {
    const { client, blob, signal } = this.o;
    const at = new URL(this.here);
    at.searchParams.set('digest', blob.digest);
    const answer = await client.send({ method: 'PUT', at, headers: octets, length: 0 }, sources, signal);
    const { statusCode: status = 0 } = answer;
    if (status === 201 || status === 204) return void answer.destroy();
    if (status < 500 && status !== 429) await this.anew();
    if (!this.joined || this.whole || !noParts.has(status)) throw await pushRefused(answer);
    answer.destroy();
    // Registries that keep no count put parts together wrongly when one was cut: once more, in one piece.
    this.whole = true;
    throw new Interrupted(`the registry answered ${status} to what was sent in parts`);
  }

  private get here(): URL {
    if (this.at === null) throw new Error('no upload was begun');
    return this.at;
  }

  private anew(): Promise<void> {
    this.at = null;
    this.offset = 0;
    return this.o.place.forget();
  }

  /** Where an upload goes on. */
  private async locationOf(response: IncomingMessage, ...wanted: number[]): Promise<URL> {
    if (!wanted.includes(response.statusCode ?? 0)) throw await pushRefused(response);
    response.destroy();
    return this.o.client.next(response.headers.location ?? '');
  }
}

/**
 * How many bytes a registry says it has (`Range: 0-<last>`). Null where it does not say, or says `0-0`, which registries also
 * say of nothing.
 */
function endOf({ headers }: IncomingMessage): number | null {
  const last = Number(/^(?:bytes=)?0-(\d{1,15})$/.exec(String(headers['range'] ?? ''))?.[1] ?? 0);
  return last === 0 ? null : last + 1;
}

/** What else a registry answers to what is sent: for good, or until the next try. */
export async function pushRefused(response: IncomingMessage): Promise<Error> {
  const { statusCode: status = 0 } = response;
  const words = wordsOf((await bodyOf(response, saidMost).catch(() => null)) ?? Buffer.alloc(0));
  const said = `the registry answered ${status}${words === '' ? '' : `: ${words}`}`;
  if (status === 405)
    return new BerthError('unsupported', `${said}; it takes no pushes`, {
      remedy: 'Push to another registry: this one is a mirror, or read-only.',
    });
  if (status === 413)
    return new BerthError('tooLarge', said, {
      remedy: 'Raise what the registry, or the proxy before it, takes of one request.',
    });
  if (status === 400 || status === 415 || status === 422)
    return new BerthError('badImage', said, {
      remedy: 'See whether the registry takes OCI images, and this name and tag.',
    });
  // An upload that the registry has forgotten is begun anew.
  if (status === 404 || status === 416) return new Interrupted(said);
  const fault = refusal(response);
  if (fault instanceof Interrupted) return fault;
  return new BerthError('unavailable', said, { remedy: 'Look at the log of the registry.' });
}

/** The registry's own words (distribution specification, "Error Codes"), bounded and on one line. */
function wordsOf(body: Buffer): string {
  try {
    const { errors } = JSON.parse(body.toString('utf8')) as {
      errors?: { code?: unknown; message?: unknown }[];
    };
    const first = errors?.[0];
    return [first?.code, first?.message]
      .filter((word) => typeof word === 'string')
      .join(', ')
      .replace(/[\p{C}\s]+/gu, ' ')
      .slice(0, 200);
  } catch {
    return '';
  }
}
