export { ImageError, type ImageErrorCode } from './image-error.js';
export { BlobStore, BlobStaging, fileDigest, type PutOptions, type StoredBlob } from './blob-store.js';
export { importArchive, type OciContent } from './archive-import.js';
export { defaultArchiveLimits, type ArchiveLimits } from './staged-archive.js';
export { inspectDisk, inspectNewDisk, type DiskFacts } from './disk-inspect.js';
export {
  LayerStore,
  type LayerLimits,
  type LayerRef,
  type LayerStoreOptions,
  type StoredLayer,
} from './layer-store.js';
export { RootStore, type RootRef } from './root-store.js';
export { confined, confinedId, type Bounds } from './confine.js';
export type { Hold } from './holds.js';
export { PartialFile } from './partial-file.js';
