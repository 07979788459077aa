import { z } from 'zod';
import { Digest, Name } from './ids.js';

/** As many drives a machine can have. */
export const CDROMS_MAX = 4;

/** What a drive is attached to: `sata` is known to every installer; `scsi` (virtio) also to kernels made for clouds alone, which lack AHCI. */
export const CdromBus = z.enum(['sata', 'scsi']);
export type CdromBus = z.infer<typeof CdromBus>;

/** A CD-ROM drive that an instance asks for. */
export const CdromSpec = z.strictObject({
  /** Name of an image of kind iso of the project, in the drive; absent: it is empty. Changes also while the instance runs. */
  image: Name.optional(),
  /** A change takes effect at the next start. */
  bus: CdromBus.default('sata'),
  /** Booted from before the root disk, instead of after it. A change takes effect at the next start. */
  bootFirst: z.boolean().default(false),
  /**
   * A medium is taken out also of a drive that its guest has locked, as it does with one that is mounted, and is not asked.
   * Whatever reads it fails then.
   */
  force: z.boolean().default(false),
});
export type CdromSpec = z.infer<typeof CdromSpec>;

/** What is in a drive of a machine, by its hypervisor's word. */
export const CdromSeen = z.strictObject({
  /** Of the image in it; null when it is empty. */
  digest: Digest.nullable(),
  /** Its guest, or somebody else, has opened the tray: what lies in it is not read. */
  trayOpen: z.boolean(),
  /** Its guest has locked the tray. */
  locked: z.boolean(),
});
export type CdromSeen = z.infer<typeof CdromSeen>;

/** A drive as its instance has it now. */
export const CdromStatus = CdromSeen.extend({
  /** Name of the image in it; null when it is empty, or the project has no such image any more. */
  image: Name.nullable(),
});
export type CdromStatus = z.infer<typeof CdromStatus>;
