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
  const empty = [{ bus: 'sata', bootFirst: false, force: false, image: null }];
  const full = [{ ...empty[0], image: { ...disk, kind: 'iso' } }];
  const drives = (cdroms: unknown, more: object = {}): never => ({ cdroms, ...more }) as never;
  const runs = () => Object.values(lab.host.state.workloads)[0];

  it('holds up neither a pause nor a resume, and is put in once it came', async () => {
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
    await expect.poll(() => runs()?.media).toEqual([digest]);
    expect(lab.host.state.starts).toBe(1);
  });

  it('holds up no other change, whether that came with it, while it comes, or to a later life of the agent', async () => {
    lab = await PlacementsLab.with(drives(empty));
    await expect.poll(() => lab.host.state.starts).toBe(1);
    lab.lacking.add(digest);
    const volumes = (...ids: string[]) =>
      ids.map((id) => ({ id, sizeMiB: 1, format: 'raw', readOnly: false, limits: {} }));
    const [one, two, three] = ['1', '2', '3'].map((n) => `00000000-0000-4000-8000-00000000000${n}`) as [
      string,
      string,
      string,
    ];
    const has = (): unknown => [
      lab.said
        .at(-1)
        ?.volumes?.slice(1)
        .map(({ id }) => id),
      runs()?.media,
    ];
    const revision = (): number | null | undefined => lab.said.at(-1)?.revision;
    const before = revision();
    await lab.want('running', drives(full, { volumes: volumes(one) }));
    await expect.poll(has).toEqual([[one], [null]]);
    await expect.poll(() => lab.images.awaited()).toEqual([digest]);
    await lab.want('running', drives(full, { volumes: volumes(one, two) }));
    await expect.poll(has).toEqual([[one, two], [null]]);
    await lab.end();
    await lab.begin();
    await lab.want('running', drives(full, { volumes: volumes(two, three) }));
    await expect.poll(has).toEqual([[two, three], [null]]);
    await expect.poll(() => lab.images.awaited()).toEqual([digest]);
    // The change as a whole is not in effect yet.
    expect(revision() ?? before).toBe(before);
    await lab.images.receive(digest, bytes());
    await expect.poll(has).toEqual([[two, three], [digest]]);
    await expect.poll(revision).toBeGreaterThan(before ?? 0);
    expect(lab.host.state.starts).toBe(1);
  });
});
