import type { RootRef } from '@berth/images';
import type { NetworkId } from '@berth/model';
import type { NicAttacher, VmRuntimeOptions } from '../driver/ports.js';

/** Root file systems of images, one file each. `RootStore` fits as it is. */
export interface RootSource {
  ensure(image: RootRef, signal?: AbortSignal): Promise<string>;
}

/** Beside taps, what a guest is told of its network. */
export interface GuestNetwork extends NicAttacher {
  /** What a guest writes to its resolv.conf; null before `ensure`. */
  resolver(networkId: NetworkId): Promise<{ readonly nameserver: string; readonly search: string } | null>;
}

export interface MicrovmRuntimeOptions extends Omit<VmRuntimeOptions, 'inspectDisk' | 'network'> {
  readonly roots: RootSource;
  readonly network: GuestNetwork;
  /** Directory with what tools/microvm/build made: kernel, initramfs, an empty file system. */
  readonly bootDir: string;
}
