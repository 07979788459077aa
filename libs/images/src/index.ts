export { ImageError, type ImageErrorCode } from './image-error.js';
export { BlobStore, BlobStaging, fileDigest, type PutOptions, type StoredBlob } from './blob-store.js';
export { importArchive, importLayout, type OciContent } from './archive-import.js';
export { archiveParts, type FilePart, partsRead, partsSize, partsTag } from './archive-export.js';
export { defaultArchiveLimits, type ArchiveLimits, type LayoutFile } from './staged-archive.js';
export {
  type Descriptor,
  ImageIndex,
  ImageManifest,
  layerFault,
  manifestsFor,
  manifestType,
  mediaTypes,
} from './oci-documents.js';
export { ReferenceFault, registryHost, RegistryReference } from './registry-reference.js';
export { inspectIso, type IsoFacts } from './iso-inspect.js';
export { inspectDisk, inspectNewDisk, type DiskFacts } from './disk-inspect.js';
export {
  LayerStore,
  type LayerLimits,
  type LayerRef,
  type LayerStoreOptions,
  type StoredLayer,
} from './layer-store.js';
export { type LayerChange, layerChanges, pathText, type UpperLayer } from './layer-changes.js';
export { imageChanges, type ImageChange, mergedFiles } from './image-changes.js';
export { layerFiles, type LayerNode } from './layer-files.js';
export { layerTar, type PackLimits, packLimits } from './layer-pack.js';
export { ratioBytes, tarEntries } from './tar-entries.js';
export { RootStore, type RootRef } from './root-store.js';
export { confined, confinedId, type Bounds } from './confine.js';
export type { Hold } from './holds.js';
export { PartialFile } from './partial-file.js';
