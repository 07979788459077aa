import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { busyboxArchive } from '../../libs/containers/src/testing/busybox-image.js';
import { guestScripts } from '../../libs/containers/src/testing/guest-scripts.js';
import { bootDisk } from '../../libs/kvm/src/testing/boot-sector.js';
import { output, type Berth } from '../e2e/berth.js';
import type { RuntimeName } from './steps.js';

/** `stubborn` never heeds a polite stop; `fresh` is steady, under a digest that no host has yet; `drive` is steady, with a CD-ROM drive. */
export type GuestKind = 'steady' | 'stubborn' | 'fresh' | 'drive';

/** Two images for its drive. */
export const media = ['first-disc', 'second-disc'] as const;

/** What the instances of the kill table run. Each start adds one to a counter on the root disk and says `boots=<n>`. */
export class KillImages {
  private readonly made = new Map<string, Promise<string>>();
  private discs: Promise<unknown> | null = null;
  private fresh = 0;

  constructor(private readonly berth: Berth) {}

  /** Name of an image, uploaded when it is first asked for. */
  async name(runtime: RuntimeName, kind: GuestKind): Promise<string> {
    const what = runtime === 'oci' ? 'oci' : 'disk';
    const name = kind === 'fresh' ? `fresh-${what}-${++this.fresh}` : `${kind}-${what}`;
    if (kind === 'drive') await this.media();
    const known = this.made.get(name) ?? this.upload(name, what, kind);
    this.made.set(name, known);
    return known;
  }

  private media(): Promise<unknown> {
    this.discs ??= Promise.all(media.map((label) => this.disc(label)));
    return this.discs;
  }

  private async disc(label: string): Promise<void> {
    const tree = join(this.berth.root, label);
    mkdirSync(tree);
    writeFileSync(join(tree, 'label.txt'), label);
    await output('genisoimage', '-quiet', '-r', '-V', label, '-o', `${tree}.iso`, tree);
    await this.berth.image(label, 'iso', `${tree}.iso`);
  }

  private async upload(name: string, what: 'oci' | 'disk', kind: GuestKind): Promise<string> {
    const guest = kind === 'stubborn' ? 'stubborn' : 'steady';
    const mark = Buffer.from(name);
    const file = join(this.berth.root, `${name}.image`);
    const config = { Cmd: [guestScripts[guest]], Labels: { name } };
    const disk = guest === 'steady' ? 'quiet' : guest;
    writeFileSync(file, what === 'oci' ? await busyboxArchive({ config }) : bootDisk(disk, mark));
    await this.berth.image(name, what, file);
    return name;
  }
}
