export { StorageError, type StorageErrorCode } from './storage-error.js';
export { VolumePool, type VolumeKind, type VolumePoolOptions, type VolumeUsage } from './volume-pool.js';
export { layerClose, layerMake, layerOpen, type Layer } from './layer-disk.js';
