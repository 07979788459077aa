import { createHash } from 'node:crypto';
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ImageError, RootStore } from '@berth/images';
import { run } from '@berth/linux';
import type { Digest } from '@berth/model';
import type { WorkloadSpec } from '@berth/runtime';
import type { WorkloadKind } from '@berth/runtime/conformance';
import {
  createMicrovmRuntime,
  type GuestNetwork,
  type MicrovmRuntime,
  type VmRuntimeOptions,
} from '../index.js';
import { ProcessHost } from './host.js';

const repository = fileURLToPath(new URL('../../../../', import.meta.url));

/** The kernel and initramfs of microVMs; built where they are stale. */
export async function microvmBoot(): Promise<string> {
  const [dir, cache] = ['microvm', 'samples/.cache'].map((name) => join(repository, '.berth', name));
  await run(join(repository, 'tools/microvm/build'), [dir ?? '', cache ?? ''], { timeoutMs: 240_000 });
  return dir ?? '';
}

const COUNT = 'n=$(cat /boots 2>/dev/null || echo 0); n=$((n + 1)); echo $n > /boots; sync; echo boots=$n';
const WAIT = 'while :; do sleep 60 & wait $!; done';

/** Shell scripts for the entry point, by how it behaves. */
const scripts: Readonly<
  Record<Exclude<WorkloadKind, 'rebooter' | 'unattended' | 'echo'> | 'writer', string>
> = {
  steady: `trap 'exit 0' TERM; ${COUNT}; ${WAIT}`,
  stubborn: `trap '' TERM; ${COUNT}; while :; do sleep 1; done`,
  brief: `${COUNT}; sleep 0.1; exit 7`,
  badImage: 'exit 0',
  writer: `${COUNT}; dd if=/dev/urandom of=/f bs=1M count=32 2>/dev/null; sync; echo wrote all; ${WAIT}`,
};

/** Builds what {@link MicrovmHost.small} boots into a directory; its layers begin as those of a build of Linux do. */
async function smallBuild(linux: string, dir: string): Promise<string> {
  mkdirSync(dir);
  const freestanding = [
    '-m32',
    '-march=i686',
    '-ffreestanding',
    '-nostdlib',
    '-static',
    '-fno-pic',
    '-no-pie',
  ];
  const bare = ['-fno-stack-protector', '-fno-asynchronous-unwind-tables', '-fcf-protection=none'];
  const layout = '-Wl,--build-id=none,-z,noexecstack,-Ttext-segment=0x100000,-e,begin';
  const source = join(import.meta.dirname, 'small-guest.c');
  const strict = ['-std=gnu17', '-Os', '-Wall', '-Wextra', '-Werror'];
  await run('gcc', [...strict, ...freestanding, ...bare, layout, '-s', '-o', join(dir, 'kernel'), source]);
  writeFileSync(join(dir, 'initrd'), 'none');
  for (const name of ['root.ext4', 'abilities']) copyFileSync(join(linux, name), join(dir, name));
  writeFileSync(join(dir, 'key'), `small ${readFileSync(join(linux, 'key'), 'utf8')}`);
  return dir;
}

/** Bottom layer of every image here: busybox and accounts. */
function treeMake(dir: string): string {
  const tree = join(dir, 'tree');
  for (const name of ['bin', 'etc', 'root', 'tmp']) mkdirSync(join(tree, name), { recursive: true });
  copyFileSync('/bin/busybox', join(tree, 'bin/busybox'));
  for (const applet of 'sh cat echo sleep id ps sync dd ls stty tty head wc ip hostname kill seq'.split(' '))
    symlinkSync('busybox', join(tree, 'bin', applet));
  writeFileSync(
    join(tree, 'etc/passwd'),
    'root:x:0:0:root:/root:/bin/sh\nweb:x:1000:100:Web:/srv/web:/bin/sh\n',
  );
  writeFileSync(join(tree, 'etc/group'), 'root:x:0:\nusers:x:100:\nlog:x:200:web\n');
  return tree;
}

const digestOf = (text: string): Digest =>
  `sha256:${createHash('sha256').update(text).digest('hex')}` as Digest;
const BAD = digestOf('bad');

type Behaving = keyof typeof scripts;
const inShell = (script: string): string[] => ['/bin/sh', '-c', script];

/** A host of microVMs with one small image, whose root is made for real. */
export class MicrovmHost extends ProcessHost {
  #live: MicrovmRuntime | null = null;
  readonly roots: RootStore;

  private constructor(
    private boot: string,
    private readonly entrypoint: (kind: Behaving) => string[],
  ) {
    super(mkdtempSync(join(tmpdir(), 'berth-microvm-')), 'berth-microvm');
    const tree = treeMake(this.dir);
    this.roots = new RootStore(join(this.dir, 'roots'), {
      ensure: ({ digest }) =>
        digest === BAD
          ? Promise.reject(new ImageError('badLayer', 'the layer is no layer', 'Build it again.'))
          : Promise.resolve(tree),
    });
  }

  /** Its guests are Linux. @param boot as by {@link microvmBoot} */
  static linux(boot: string): MicrovmHost {
    return new MicrovmHost(boot, (kind) => inShell(scripts[kind]));
  }

  /** Its guests are the one of small-guest.c, which does as the kinds `steady`, `stubborn` and `brief` say. @param boot as for Linux */
  static async small(boot: string): Promise<MicrovmHost> {
    const host = new MicrovmHost(boot, (kind) => [kind]);
    host.boot = await smallBuild(boot, join(host.dir, 'small'));
    return host;
  }

  override spec(kind: string, changes: Partial<WorkloadSpec> = {}): WorkloadSpec {
    return this.of(this.entrypoint(kind as Behaving), {
      ...changes,
      ...(kind === 'badImage' ? { image: this.image([], BAD) } : {}),
    });
  }

  /** Spec of a new instance whose entry point is this script. */
  running(script: string, changes: Partial<WorkloadSpec> = {}): WorkloadSpec {
    return this.of(inShell(script), changes);
  }

  private of(entrypoint: string[], changes: Partial<WorkloadSpec>): WorkloadSpec {
    const plain = this.specOf(Buffer.alloc(512));
    return {
      ...plain,
      isolation: 'microvm',
      image: this.image(entrypoint, digestOf('layer')),
      memoryMiB: 96,
      rootVolume: { id: plain.rootVolume.id, sizeMiB: 64 },
      ...changes,
    };
  }

  override runtime(overrides: Partial<VmRuntimeOptions> = {}): MicrovmRuntime {
    void this.#live?.close();
    const parts = this.parts();
    const network = {
      resolver: () => Promise.resolve(null),
      ...parts.network,
    };
    this.#live = createMicrovmRuntime({
      ...parts,
      roots: this.roots,
      bootDir: this.boot,
      ...overrides,
      network: (overrides.network ?? network) as GuestNetwork,
    });
    return this.#live;
  }

  private image(entrypoint: string[], layer: Digest): WorkloadSpec['image'] {
    return {
      kind: 'oci',
      digest: digestOf(`manifest ${layer}`),
      configDigest: digestOf('config'),
      layers: [
        { digest: layer, diffId: layer, sizeBytes: 1, mediaType: 'application/vnd.oci.image.layer.v1.tar' },
      ],
      process: { entrypoint, cmd: [], env: ['FROM=image'], user: '', workdir: '' },
      arch: 'x86_64',
      blobs: [],
    };
  }
}
