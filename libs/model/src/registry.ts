import { z } from 'zod';
import { Name, RegistryCredentialId } from './ids.js';

export const RegistryUsername = z
  .string()
  .regex(/^[^:\p{Cc}]{1,255}$/u, 'must not be empty, nor contain ":" or control characters');
export const RegistryPassword = z
  .string()
  .regex(/^\P{Cc}{1,16384}$/u, 'must not be empty, nor contain control characters');

/** What a project signs in with at a registry, without the secret: that is shown to nobody. */
export const RegistryCredential = z
  .strictObject({
    id: RegistryCredentialId,
    project: Name,
    /** Host, and port where it is named, as references to images begin. */
    host: z.string(),
    kind: z.enum(['password', 'identityToken']),
    /** Null for an identity token, which says who it is for. */
    username: z.string().nullable(),
    resourceVersion: z.int(),
    createdAt: z.iso.datetime(),
    updatedAt: z.iso.datetime(),
  })
  .meta({ id: 'RegistryCredential' });
export type RegistryCredential = z.infer<typeof RegistryCredential>;

export const RegistryCredentialPut = z
  .strictObject({
    username: RegistryUsername.optional().describe('With password'),
    password: RegistryPassword.optional().describe('Or a token that stands for one. Shown to nobody again'),
    identityToken: RegistryPassword.optional().describe(
      'Instead of both: what the registry’s token server takes as an OAuth 2 refresh token. Shown to nobody again',
    ),
  })
  .superRefine(({ username, password, identityToken }, ctx) => {
    const say = (path: string, message: string): void =>
      ctx.addIssue({ code: 'custom', path: [path], message });
    if (identityToken === undefined) {
      if (username === undefined) say('username', 'must be given, or else identityToken');
      if (password === undefined) say('password', 'must be given, or else identityToken');
    } else if (username !== undefined || password !== undefined)
      say('identityToken', 'takes the place of username and password: give either');
  })
  .meta({ id: 'RegistryCredentialPut' });
export type RegistryCredentialPut = z.infer<typeof RegistryCredentialPut>;
