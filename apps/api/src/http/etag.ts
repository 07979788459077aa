import { BerthError } from '@berth/model';
import type { FastifyReply } from 'fastify';

/** Strong ETag (RFC 9110 section 8.8.3) of a resource: its resourceVersion. */
export function etagOf(resource: { readonly resourceVersion: number }): string {
  return `"${resource.resourceVersion}"`;
}

export function setEtag(reply: FastifyReply, resource: { readonly resourceVersion: number }): void {
  void reply.header('etag', etagOf(resource));
}

/** The resourceVersion an `If-Match` header asks for; `*` and no header ask for none. @throws invalid */
export function ifMatchOf(header: string | undefined): { ifMatch?: number } {
  if (header === undefined || header.trim() === '*') return {};
  const version = /^"(\d{1,15})"$/.exec(header.trim())?.[1];
  if (version === undefined)
    throw new BerthError('invalid', 'If-Match is not an ETag of this API.', {
      errors: [
        {
          path: 'header/if-match',
          code: 'wrongFormat',
          message: 'must be one ETag in double quotes, or *',
          remedy: 'Send the ETag header of the answer you read, unchanged.',
        },
      ],
    });
  return { ifMatch: Number(version) };
}
