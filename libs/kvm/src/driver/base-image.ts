import { inspectDisk, inspectIso } from '@berth/images';
import type { ImageContent, IsoContent } from '@berth/model';
import { RuntimeError } from '@berth/runtime';
import type { VmRuntimeOptions } from './ports.js';

/**
 * Path of the image's blob, after its header was read again: an image is trusted by digest, its format by content.
 * @throws RuntimeError imageMissing, badImage
 */
export async function inspectBase(
  options: Pick<VmRuntimeOptions, 'blobs' | 'inspectDisk'>,
  image: Extract<ImageContent, { kind: 'disk' }>,
): Promise<string> {
  if (!(await options.blobs.has(image.digest)))
    throw new RuntimeError('imageMissing', `image ${image.digest} is not on this host`);
  const path = options.blobs.path(image.digest);
  const facts = await (options.inspectDisk ?? inspectDisk)(path).catch((cause: Error) => {
    throw new RuntimeError('badImage', cause.message, { cause });
  });
  if (facts.format !== image.format)
    throw new RuntimeError('badImage', `the image is said to be ${image.format} and is ${facts.format}`);
  return path;
}

/**
 * Path of what is to lie in a drive, after its descriptors were read again. Whatever they say, it is read as a raw file.
 * @throws RuntimeError imageMissing, badImage
 */
export async function inspectMedium(
  options: Pick<VmRuntimeOptions, 'blobs'>,
  image: IsoContent,
): Promise<string> {
  if (!(await options.blobs.has(image.digest)))
    throw new RuntimeError('imageMissing', `image ${image.digest} is not on this host`);
  const path = options.blobs.path(image.digest);
  await inspectIso(path).catch((cause: Error) => {
    throw new RuntimeError('badImage', cause.message, { cause });
  });
  return path;
}
