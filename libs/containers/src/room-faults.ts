import { ImageError, type ImageErrorCode } from '@berth/images';
import { RuntimeError, type RuntimeErrorCode } from '@berth/runtime';
import { StorageError } from '@berth/storage';

const IMAGE_CODES: Readonly<Record<ImageErrorCode, RuntimeErrorCode>> = {
  badArchive: 'badImage',
  badDigest: 'badImage',
  badLayer: 'badImage',
  badDisk: 'badImage',
  unsupported: 'badImage',
  tooLarge: 'badImage',
  missingBlob: 'imageMissing',
  deadline: 'deadline',
  hostFault: 'hostFault',
};

/** The image room's faults in the words of a runtime; what is none of its own stays as it is. */
export function layerFault(error: unknown): unknown {
  if (!(error instanceof ImageError)) return error;
  const { message, remedy } = error;
  return new RuntimeError(IMAGE_CODES[error.code], message, { cause: error, remedy });
}

/** The storage room's faults in the words of a runtime. */
export function volumeFault(error: unknown): unknown {
  if (!(error instanceof StorageError)) return error;
  const { message, remedy } = error;
  return new RuntimeError(error.code === 'noSpace' ? 'noSpace' : 'hostFault', message, {
    cause: error,
    remedy,
  });
}
