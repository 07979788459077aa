import { Readable } from 'node:stream';
import type { Digest, ImageContent } from '@berth/model';
import { afterEach, describe, expect, it } from 'vitest';
import { ImageFetch } from './image-fetch.js';
import { PlacementsLab } from './testing/placements-lab.js';

const digest = `sha256:${'b'.repeat(64)}` as Digest;
const disk = { kind: 'disk', digest, blobs: [{ digest, sizeBytes: 3 }] } as unknown as ImageContent;
const bytes = (): Readable => Readable.from([Buffer.from('iso')]);

describe('a blob that is waited for', () => {
  it('is there for who began to wait while it came, also when the first had left', async () => {
    let here = false;
    let arrived = (): void => undefined;
    const arrival = new Promise<void>((resolve) => (arrived = resolve));
    const asked: string[] = [];
    const images = new ImageFetch(
      {
        has: () => Promise.resolve(here),
        rely: () => undefined,
        put: () => arrival.then(() => void (here = true)),
        open: () => Promise.reject(new Error('nobody opens it')),
      },
      ({ kind }) => void asked.push(kind),
      { keep: () => Promise.resolve() },
    );
    const first = new AbortController();
    const left = images.fetch(disk, first.signal);
    await expect.poll(() => images.awaited()).toEqual([digest]);
    const coming = images.receive(digest, bytes());
    first.abort(new Error('no longer wanted'));
    await expect(left).rejects.toThrow('no longer wanted');
    const second = images.fetch(disk, new AbortController().signal);
    await expect.poll(() => images.awaited()).toEqual([digest]);
    arrived();
    await coming;
    await second;
    expect(images.awaited()).toEqual([]);
    expect(asked.at(-1)).toBe('imageHeld');
  });
});

describe('a medium that is on its way to a machine that runs', () => {
  let lab: PlacementsLab;
  afterEach(() => lab.close());

  it('holds up neither a pause nor a resume, and is put in once it came', async () => {
    const empty = [{ bus: 'sata', bootFirst: false, force: false, image: null }];
    const full = [{ ...empty[0], image: { ...disk, kind: 'iso' } }];
    const drives = (cdroms: unknown): never => ({ cdroms }) as never;
    lab = await PlacementsLab.with(drives(empty));
    await expect.poll(() => lab.host.state.starts).toBe(1);
    lab.lacking.add(digest);
    const power = (): string | undefined => lab.said.at(-1)?.power;
    await lab.want('running', drives(full));
    await expect.poll(() => lab.images.awaited()).toEqual([digest]);
    await lab.want('paused', drives(full));
    await expect.poll(power).toBe('paused');
    await expect.poll(() => lab.images.awaited()).toEqual([digest]);
    await lab.want('running', drives(full));
    await expect.poll(power).toBe('running');
    await expect.poll(() => lab.images.awaited()).toEqual([digest]);
    await lab.images.receive(digest, bytes());
    await expect.poll(() => Object.values(lab.host.state.workloads)[0]?.media).toEqual([digest]);
    expect(lab.host.state.starts).toBe(1);
  });
});
