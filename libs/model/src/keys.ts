import { z } from 'zod';
import { keyNames } from './key-names.js';

/** Keys held at once, and all keys of one request. QEMU queues some hundred events and drops what comes beyond. */
export const keysAtOnce = 8;
export const keysOfRequest = 128;

/** Keys pressed together, in their order, and let go in the opposite one. */
export const KeyPress = z
  .array(z.enum(keyNames))
  .min(1)
  .max(keysAtOnce)
  .refine((keys) => new Set(keys).size === keys.length, 'names a key twice')
  .describe('Keys held together: `["ctrl", "alt", "delete"]`');
export type KeyPress = z.infer<typeof KeyPress>;

export const SendKeys = z
  .strictObject({
    presses: z
      .array(KeyPress)
      .min(1)
      .max(keysOfRequest)
      .refine(
        (presses) => presses.flat().length <= keysOfRequest,
        `has more than ${keysOfRequest} keys; send the rest in another request`,
      )
      .describe('One after another'),
  })
  .meta({ id: 'SendKeys' });
export type SendKeys = z.infer<typeof SendKeys>;
