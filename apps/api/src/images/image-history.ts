import type { ImageHistoryEntry } from '@berth/model';
import type { OciContent } from './commit-documents.js';
import { configHistory, configObject, isEmptyLayer } from './image-config.js';

/** Of one text that an image says of itself, characters. */
const textMost = 8192;

/** How an image came to be, newest step first. Pure. @throws BerthError badImage */
export function imageHistory({ layers }: OciContent, config: Buffer): ImageHistoryEntry[] {
  const entries = configHistory(configObject(config)['history'], layers.length);
  let next = 0;
  const told = entries.map((entry): ImageHistoryEntry => {
    const layer = isEmptyLayer(entry) ? undefined : layers[next++];
    const { created, created_by, author, comment } = entry as Record<string, unknown>;
    return {
      createdAt: timeOf(created),
      createdBy: textOf(created_by) ?? '',
      author: textOf(author),
      comment: textOf(comment),
      layer:
        layer === undefined
          ? null
          : { digest: layer.digest, diffId: layer.diffId, sizeBytes: layer.sizeBytes },
    };
  });
  return told.reverse();
}

const textOf = (value: unknown): string | null =>
  typeof value === 'string' && value !== '' ? value.slice(0, textMost) : null;

function timeOf(value: unknown): string | null {
  const time = typeof value === 'string' ? Date.parse(value) : NaN;
  return Number.isNaN(time) ? null : new Date(time).toISOString();
}
