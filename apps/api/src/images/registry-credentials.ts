import { ReferenceFault, registryHost } from '@berth/images';
import {
  BerthError,
  type ProjectId,
  type RegistryCredential,
  type RegistryCredentialPut,
} from '@berth/model';
import type { MasterKey } from '../dispatch/master-key.js';
import type { RegistryStore, RequestContext } from '../store/store.js';
import type { RegistryCredentials } from './registry-auth.js';

interface Deps {
  readonly store: RegistryStore;
  readonly masterKey: Pick<MasterKey, 'seal' | 'open'>;
}

/** An envelope is for one project and one registry: moved to another row it does not open. */
const purpose = (projectId: ProjectId, host: string): string => `registry ${host} of project ${projectId}`;

/** A registry of an address, as references name it; null for what is none. */
export function registryOf(text: string): string | null {
  try {
    return registryHost(text);
  } catch (error) {
    if (error instanceof ReferenceFault) return null;
    throw error;
  }
}

/** Seals what was sent, and keeps it in place of what was kept. @throws BerthError invalid, preconditionFailed, notFound */
export function registryCredentialKeep(
  { store, masterKey }: Deps,
  ctx: RequestContext,
  target: { readonly projectId: ProjectId; readonly host: string; readonly ifMatch?: number },
  { username, password = '', identityToken }: RegistryCredentialPut,
): Promise<RegistryCredential> {
  const host = registryOf(target.host);
  if (host === null) throw noHost();
  const credentials: RegistryCredentials =
    identityToken === undefined ? { username: username ?? '', password } : { identityToken };
  const envelope = masterKey.seal(JSON.stringify(credentials), purpose(target.projectId, host));
  const kept =
    identityToken === undefined
      ? ({ kind: 'password', username: username ?? '' } as const)
      : ({ kind: 'identityToken', username: null } as const);
  return store.registryCredentialPut(ctx, { ...target, host, ...kept, envelope });
}

/** What a project keeps for a registry; null where it keeps nothing. `host` as a reference names it. */
export async function registryCredentialOpen(
  { store, masterKey }: Deps,
  projectId: ProjectId,
  host: string,
): Promise<RegistryCredentials | null> {
  const envelope = await store.registryCredentialEnvelope(projectId, host);
  if (envelope === null) return null;
  return JSON.parse(masterKey.open(envelope, purpose(projectId, host))) as RegistryCredentials;
}

function noHost(): BerthError {
  const remedy =
    'Name it as references do: registry.example, registry.example:5000, or docker.io for Docker Hub.';
  const message = 'is no host of a registry';
  return new BerthError('invalid', `The registry of the address ${message}.`, {
    remedy,
    errors: [{ path: 'path/host', code: 'invalid', message, remedy }],
  });
}
