import { chmodSync, chownSync, lstatSync, mkdirSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';
import { faultPoint } from '@berth/faults';
import { hasCode, idmappedMount, isMounted, namesIn, umountAll } from '@berth/linux';
import type { HostMount, VolumeId, VolumeSeen } from '@berth/model';
import type { WorkloadKey } from '@berth/runtime';
import { guestPathResolve } from '../bundle/guest-file.js';
import type { OciMount } from '../bundle/oci-types.js';
import type { LayerVolumes } from '../ports.js';
import { volumeFault } from '../room-faults.js';
import { type NamespacePaths, withUserNamespace } from './namespaces.js';

/*
 * Data volumes of a container (ADR 55). Each is a file system that Berth made, as a writable layer is, and that nothing but
 * containers writes. Its files have the owners that containers see, and each container sees it through a mount that shifts them to
 * its own range of ids:
 *
 *   <directory>/<volume id>   that mount, for as long as the placement needs it
 */
export class VolumeMounts {
  constructor(private readonly volumes: LayerVolumes) {}

  /** Mounts what is wanted and is not mounted, and nothing else. Nothing runs. @throws RuntimeError noSpace, hostFault */
  async open(
    { instanceId }: WorkloadKey,
    directory: string,
    wanted: readonly HostMount[],
    namespaces: NamespacePaths,
  ): Promise<void> {
    for (const id of volumesIn(directory))
      if (!wanted.some((one) => one.id === id)) await this.shut(directory, id);
    for (const { id, sizeMiB } of wanted) {
      const { upper } = await this.layer(id, sizeMiB);
      await faultPoint('oci.volume.opened', instanceId);
      const target = join(directory, id);
      if (isMounted(target)) continue;
      mkdirSync(target, { recursive: true, mode: 0o700 });
      withUserNamespace(namespaces, (fd) => idmappedMount(upper, target, fd));
    }
  }

  /** Those that are mounted, each as large as asked for, or as it can be while it is in use. @throws RuntimeError hostFault */
  async seen(directory: string, wanted: readonly HostMount[]): Promise<VolumeSeen[]> {
    const all: VolumeSeen[] = [];
    for (const id of volumesIn(directory)) {
      const askedMiB = wanted.find((one) => one.id === id)?.sizeMiB;
      const { sizeMiB } = await this.layer(id, askedMiB ?? 1);
      all.push({ id, sizeMiB: Math.min(sizeMiB, askedMiB ?? sizeMiB) });
    }
    return all;
  }

  /** Takes all of them away; no process that has them may be left. Repeating it is no error. */
  async close({ instanceId }: WorkloadKey, directory: string): Promise<void> {
    for (const id of volumesIn(directory)) {
      await this.shut(directory, id);
      await faultPoint('oci.volume.closed', instanceId);
    }
    try {
      rmdirSync(directory);
    } catch (error) {
      if (!hasCode(error, 'ENOENT')) throw error;
    }
  }

  private async shut(directory: string, id: VolumeId): Promise<void> {
    const target = join(directory, id);
    umountAll(target);
    await this.volumes.closeLayer(id);
    rmdirSync(target); // last: while it stands, an interrupted release is found again
  }

  private async layer(volumeId: VolumeId, sizeMiB: number) {
    try {
      return await this.volumes.ensureLayer({ volumeId, sizeMiB });
    } catch (error) {
      throw volumeFault(error);
    }
  }
}

/** Volumes that a placement has, or had when its release was interrupted. */
export const volumesIn = (directory: string): VolumeId[] => namesIn(directory) as VolumeId[];

/** As the OCI runtime takes them; those above others first, or they would hide them. */
export const volumeBinds = (directory: string, wanted: readonly HostMount[]): OciMount[] =>
  wanted
    .toSorted((a, b) => a.path.length - b.path.length)
    .map(({ id, path, readOnly }) => ({
      destination: path,
      type: 'bind',
      source: join(directory, id),
      options: ['bind', readOnly ? 'ro' : 'rw', 'nosuid', 'nodev', 'rprivate'],
    }));

/**
 * A volume that was never written gets owner and mode of the image's directory at its place, where there is one: a program that is not
 * root can write it then. The guest must not run.
 */
export function volumesOwn(directory: string, wanted: readonly HostMount[], rootfs: string): void {
  for (const { id, path } of wanted) {
    const volume = join(directory, id);
    const now = lstatSync(volume);
    const root = lstatSync(rootfs);
    const fresh = now.uid === root.uid && now.gid === root.gid && namesIn(volume).length === 0;
    const like = lstatSync(join(rootfs, guestPathResolve(rootfs, path)), { throwIfNoEntry: false });
    if (!fresh || like?.isDirectory() !== true) continue;
    // Seen through the mount and in the container's root alike: ids of its range.
    chownSync(volume, like.uid, like.gid);
    chmodSync(volume, like.mode & 0o777);
  }
}
