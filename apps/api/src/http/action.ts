import 'reflect-metadata';
import { applyDecorators, HttpCode, SetMetadata } from '@nestjs/common';
import { RouteConfig } from '@nestjs/platform-fastify';
import type { z } from 'zod';
import type { ActionName } from '../access/actions.js';

export const routeDoc = Symbol('berth:route');

/** What a route answers with, besides problem documents. */
export interface Answer {
  readonly description: string;
  /** JSON body; absent for no body or for `stream`. */
  readonly schema?: z.ZodType;
  /** Media type of a body that is no JSON. */
  readonly stream?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

/** All that the OpenAPI document says of a route and Nest's own decorators do not. */
export interface RouteDoc {
  readonly summary: string;
  /** The lowest one is the status of success, but where `status` says otherwise. */
  readonly answers: Readonly<Record<number, Answer>>;
  readonly status?: number;
  /** The route takes a raw stream of this media type, which is not parsed. */
  readonly upload?: string;
  /** The route honours `If-Match`. */
  readonly ifMatch?: boolean;
  /** A POST that only asks: it takes no Idempotency-Key. */
  readonly readOnly?: boolean;
  /** Request headers beside the ones all routes take. */
  readonly headers?: Readonly<Record<string, string>>;
}

/** What Fastify keeps beside a route, so that access is decided before the body is read. */
export interface RouteAccess {
  readonly action: ActionName | 'public';
  readonly upload?: string;
  readonly readOnly?: boolean;
}

/** Declares what a route does: its action in the access table, its answers. A route without one fails at boot. */
export function Action(action: ActionName | 'public', doc: RouteDoc): MethodDecorator {
  const status = doc.status ?? Number(Object.keys(doc.answers)[0]);
  const access: RouteAccess = {
    action,
    ...(doc.upload === undefined ? {} : { upload: doc.upload }),
    ...(doc.readOnly === undefined ? {} : { readOnly: doc.readOnly }),
  };
  return applyDecorators(
    HttpCode(status),
    RouteConfig({ berth: access }),
    SetMetadata(routeDoc, { action, doc }),
  );
}
