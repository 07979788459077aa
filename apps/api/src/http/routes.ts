import { RequestMethod, type Type } from '@nestjs/common';
import { METHOD_METADATA, PATH_METADATA, ROUTE_ARGS_METADATA } from '@nestjs/common/constants.js';
import { RouteParamtypes } from '@nestjs/common/enums/route-paramtypes.enum.js';
import type { z } from 'zod';
import type { ActionName } from '../access/actions.js';
import { routeDoc, type RouteDoc } from './action.js';

/** One route as its decorators declare it; the OpenAPI document, 405 answers and the boot check all read this. */
export interface Route {
  /** Upper case. */
  readonly method: string;
  /** With parameters as `:name`. */
  readonly path: string;
  /** `controller.handler`, for error texts and operation ids. */
  readonly name: string;
  readonly action: ActionName | 'public';
  readonly doc: RouteDoc;
  readonly body: z.ZodType | null;
  readonly query: z.ZodObject | null;
  readonly params: readonly string[];
}

interface RouteArg {
  readonly data?: unknown;
  readonly schema?: unknown;
}

/** Every route of the controllers. @throws Error naming a handler without a declared action */
export function routesOf(controllers: readonly Type[]): Route[] {
  return controllers.flatMap((controller) => {
    const base = String(Reflect.getMetadata(PATH_METADATA, controller));
    const prototype = controller.prototype as Record<string, unknown>;
    return Object.getOwnPropertyNames(prototype)
      .map((name) => ({ name, handler: prototype[name] }))
      .filter(({ name, handler }) => name !== 'constructor' && typeof handler === 'function')
      .filter(({ handler }) => Reflect.hasMetadata(METHOD_METADATA, handler as object))
      .map(({ name, handler }) => routeOf(controller, base, name, handler as object));
  });
}

function routeOf(controller: Type, base: string, name: string, handler: object): Route {
  const path = join(base, String(Reflect.getMetadata(PATH_METADATA, handler)));
  const method = RequestMethod[Reflect.getMetadata(METHOD_METADATA, handler) as RequestMethod];
  const declared = Reflect.getMetadata(routeDoc, handler) as
    { action: Route['action']; doc: RouteDoc } | undefined;
  if (declared === undefined)
    throw new Error(`${controller.name}.${name} (${method} ${path}) declares no action: add @Action(…)`);
  const args = (Reflect.getMetadata(ROUTE_ARGS_METADATA, controller, name) ?? {}) as Record<string, RouteArg>;
  const schemaOf = (kind: RouteParamtypes): unknown =>
    Object.entries(args).find(([key, arg]) => key.startsWith(`${kind}:`) && arg.schema !== undefined)?.[1]
      .schema;
  return {
    method,
    path,
    name: `${controller.name}.${name}`,
    ...declared,
    body: (schemaOf(RouteParamtypes.BODY) ?? null) as z.ZodType | null,
    query: (schemaOf(RouteParamtypes.QUERY) ?? null) as z.ZodObject | null,
    params: [...path.matchAll(/:([A-Za-z]+)/g)].map((m) => m[1] as string),
  };
}

function join(base: string, path: string): string {
  return (
    '/' +
    [base, path]
      .join('/')
      .split('/')
      .filter((p) => p !== '')
      .join('/')
  );
}

/** Methods that an address takes, whatever its parameters. */
export function methodsOf(routes: readonly Route[], path: string): string[] {
  const parts = path.split('/');
  const fits = (route: Route): boolean => {
    const pattern = route.path.split('/');
    return (
      pattern.length === parts.length &&
      pattern.every((p, i) => (p.startsWith(':') ? parts[i] !== '' : p === parts[i]))
    );
  };
  return [...new Set(routes.filter(fits).map((r) => r.method))];
}
