import { ImageError } from '@berth/images';
import { RuntimeError } from '@berth/runtime';
import { StorageError } from '@berth/storage';

/** The image room's faults in the words of a runtime; what is none of its own stays as it is. */
export function layerFault(error: unknown): unknown {
  if (!(error instanceof ImageError)) return error;
  const { blame, message, remedy } = error;
  return new RuntimeError(blame, message, { cause: error, remedy });
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
