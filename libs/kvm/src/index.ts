export type { BlobSource, DiskVolumes, KvmRuntimeOptions, NicAttacher } from './driver/ports.js';
