import { BerthError } from '@berth/model';

/** The configuration of an image, of which nothing is believed. @throws BerthError badImage */
export function configObject(bytes: Buffer): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(bytes.toString('utf8'));
    if (typeof value === 'object' && value !== null && !Array.isArray(value))
      return value as Record<string, unknown>;
  } catch {
    // falls through to the one refusal
  }
  throw new BerthError('badImage', 'the configuration of the image is no JSON object', {
    remedy: 'Build and import the image anew.',
  });
}

/** Its history, oldest first, with one entry for each layer, which readers count on: what lacks gets entries that say nothing. */
export function configHistory(found: unknown, layers: number): readonly object[] {
  const entries = (Array.isArray(found) ? found : []).filter(
    (e) => typeof e === 'object' && e !== null,
  ) as object[];
  const filled = entries.filter((e) => !isEmptyLayer(e)).length;
  if (filled > layers) return Array.from({ length: layers }, () => ({}));
  return [...Array.from({ length: layers - filled }, () => ({})), ...entries];
}

/** Whether a step of the history changed no file. */
export const isEmptyLayer = (entry: object): boolean =>
  (entry as { empty_layer?: unknown }).empty_layer === true;
