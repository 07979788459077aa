import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { busyboxArchive } from '../../libs/containers/src/testing/busybox-image.js';
import { guestScripts } from '../../libs/containers/src/testing/guest-scripts.js';
import { bootDisk } from '../../libs/kvm/src/testing/boot-sector.js';
import type { Berth } from '../e2e/berth.js';
import type { RuntimeName } from './steps.js';

/** `stubborn` never heeds a polite stop; `fresh` is steady, under a digest that no host has yet. */
export type GuestKind = 'steady' | 'stubborn' | 'fresh';

/** What the instances of the kill table run. Each start adds one to a counter on the root disk and says `boots=<n>`. */
export class KillImages {
  private readonly made = new Map<string, Promise<string>>();
  private fresh = 0;

  constructor(private readonly berth: Berth) {}

  /** Name of an image, uploaded when it is first asked for. */
  name(runtime: RuntimeName, kind: GuestKind): Promise<string> {
    const what = runtime === 'oci' ? 'oci' : 'disk';
    const name = kind === 'fresh' ? `fresh-${what}-${++this.fresh}` : `${kind}-${what}`;
    const known = this.made.get(name) ?? this.upload(name, what, kind);
    this.made.set(name, known);
    return known;
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
