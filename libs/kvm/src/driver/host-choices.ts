import { join } from 'node:path';
import type { Observation, WorkloadKey } from '@berth/runtime';
import { NumaBindings, type NumaHost } from './numa-bindings.js';
import { VsockCids, type VsockHost } from './vsock-cids.js';

/** What a host chooses for its machines, by epoch, whichever driver has them. */
export class HostChoices {
  readonly vsock: VsockCids;
  readonly numa: NumaBindings;

  /** @param dir survives a reboot, as the disks do @param host what tests put in the kernel's place */
  constructor(dir: string, host: { readonly vsock?: VsockHost; readonly numa?: NumaHost } = {}) {
    this.vsock = new VsockCids(join(dir, 'vsock-cids.json'), host.vsock);
    this.numa = new NumaBindings(join(dir, 'numa-bindings.json'), host.numa);
  }

  /** As it is told of an epoch. */
  async of(key: WorkloadKey): Promise<Pick<Observation, 'vsockCid' | 'numaHostNodes'>> {
    const [vsockCid, numaHostNodes] = await Promise.all([this.vsock.of(key), this.numa.of(key)]);
    return {
      ...(vsockCid === null ? {} : { vsockCid }),
      ...(numaHostNodes === null ? {} : { numaHostNodes }),
    };
  }

  /** The epoch is over. */
  async release(key: WorkloadKey): Promise<void> {
    await this.vsock.release(key);
    await this.numa.release(key);
  }
}
