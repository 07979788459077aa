export { ImageError, type ImageErrorCode } from './image-error.js';
export { BlobStore, BlobStaging, type PutOptions, type StoredBlob } from './blob-store.js';
export { importArchive, type ArchiveLimits, type OciContent } from './archive-import.js';
export { inspectDisk, type DiskFacts } from './disk-inspect.js';
export { LayerStore, type LayerLimits, type LayerRef, type StoredLayer } from './layer-store.js';
