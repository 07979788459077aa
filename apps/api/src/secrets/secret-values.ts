import {
  type HostId,
  type ProjectId,
  type Secret,
  secretBytes,
  secretIsText,
  type SecretPut,
} from '@berth/model';
import type { DispatchLog, SecretSource } from '../dispatch/hooks.js';
import type { MasterKey } from '../dispatch/master-key.js';
import type { RequestContext, SecretStore } from '../store/store.js';

/** An envelope is for one project and one name: moved to another row it does not open. */
const purpose = (projectId: ProjectId, name: string): string => `secret ${name} of project ${projectId}`;

/** Seals what was sent, and keeps it in place of what was kept. @throws BerthError invalid, preconditionFailed, notFound */
export function secretKeep(
  { store, masterKey }: { readonly store: SecretStore; readonly masterKey: Pick<MasterKey, 'seal'> },
  ctx: RequestContext,
  target: { readonly projectId: ProjectId; readonly name: string; readonly ifMatch?: number },
  body: SecretPut,
): Promise<{ readonly secret: Secret; readonly hosts: readonly HostId[] }> {
  const bytes = secretBytes(body);
  const sealed = masterKey.seal(
    Buffer.from(bytes).toString('base64'),
    purpose(target.projectId, target.name),
  );
  return store.secretPut(ctx, { ...target, envelope: sealed, isText: secretIsText(bytes) });
}

/** What hosts are sent of secrets. */
export function secretSource({
  store,
  masterKey,
  log,
}: {
  readonly store: SecretStore;
  readonly masterKey: Pick<MasterKey, 'open'>;
  readonly log: DispatchLog;
}): SecretSource {
  return {
    async open(ids) {
      const sealed = await store.secretsSealed(ids);
      return sealed.flatMap(({ id, projectId, name, envelope, version }) => {
        try {
          return [{ id, version, base64: masterKey.open(envelope, purpose(projectId, name)) }];
        } catch (err) {
          // One that was sealed with another key holds up nothing but its own instances, which say that they lack it.
          log.error({ err, secretId: id }, 'a secret cannot be opened: give it a new value');
          return [];
        }
      });
    },
  };
}
