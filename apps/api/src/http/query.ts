import { maxStopGraceSeconds } from '@berth/model';
import { z } from 'zod';

/** A whole number in a query string. */
export const wholeNumber = (min: number, max: number) =>
  z
    .string()
    .regex(/^\d{1,15}$/, 'must be a whole number')
    .transform(Number)
    .pipe(z.int().min(min).max(max));

/** `true` or `false` in a query string. */
export const flag = () =>
  z
    .enum(['true', 'false'])
    .transform((v) => v === 'true')
    .pipe(z.boolean());

/** How long an answer may be held for an operation to finish, in seconds. */
export const Wait = z.strictObject({
  wait: wholeNumber(0, 60)
    .optional()
    .describe('Hold the answer until the operation is finished, at most this many seconds'),
});
export type Wait = z.infer<typeof Wait>;

/** What a stop may say, beside {@link Wait}. */
export const StopQuery = Wait.extend({
  graceSeconds: wholeNumber(0, maxStopGraceSeconds)
    .optional()
    .describe(
      'How long the guest gets to end by itself before it is ended by force, also when it is being stopped already; 0 forces it at once. As its spec says when absent',
    ),
});
export type StopQuery = z.infer<typeof StopQuery>;

/** One page of a list. */
export const Page = z.strictObject({
  limit: wholeNumber(1, 500).default(100).describe('Rows of one page'),
  cursor: z.string().min(1).max(512).optional().describe('`nextCursor` of the page before'),
});
export type Page = z.infer<typeof Page>;

const term = '[a-z0-9][-a-z0-9._/]{0,62}=[-A-Za-z0-9._]{0,63}';

/** `key=value,key=value`: labels that must all match. */
export const LabelSelector = z
  .string()
  .max(2048)
  .regex(new RegExp(`^${term}(,${term})*$`), 'must be key=value, several joined by commas');

/** The labels a {@link LabelSelector} names. */
export function labelsOf(selector: string): Record<string, string> {
  return Object.fromEntries(selector.split(',').map((t) => t.split('=') as [string, string]));
}

/** A list answer: one page and where the next begins. */
export const listOf = <T extends z.ZodType>(item: T) =>
  z.strictObject({
    items: z.array(item),
    nextCursor: z.string().nullable().describe('Send as `cursor` for the next page; null on the last'),
  });
