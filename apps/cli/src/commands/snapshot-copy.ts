import { answer, type Schemas } from '@berth/client';
import { accept, type WaitOptions, waiting } from '../operation.js';
import { append, examples, inProject, ofInstance, type Commands, type Session } from '../session.js';
import { valueSet } from '../spec-file.js';

type Snapshot = Schemas['Snapshot'];
type Body = Schemas['InstanceCreate'];

interface CopyOptions extends WaitOptions {
  readonly set: string[];
}

const volumes = '/v1/projects/{project}/volumes';

export const snapshotCopyCommand: Commands = (snapshot, session) => {
  const copy = waiting(snapshot.command('copy <instance> <snapshot> <new-instance>'))
    .description('create an instance whose disks begin as those of a snapshot; it is its own from then on')
    .option('--set <field=value>', 'change a field of it, for example spec.memoryMiB=512', append, [])
    .action(async (name: string, ref: string, other: string, options: CopyOptions) => {
      const s = session();
      const [taken, instance] = await Promise.all([
        answer(
          s.api.rest.GET('/v1/projects/{project}/instances/{name}/snapshots/{snapshot}', {
            params: { path: { ...ofInstance(s, name).path, snapshot: ref } },
          }),
        ),
        answer(s.api.rest.GET('/v1/projects/{project}/instances/{name}', { params: ofInstance(s, name) })),
      ]);
      const body = copyOf(instance, taken, other);
      for (const assignment of options.set) valueSet(body as Record<string, unknown>, assignment);
      await accept(s, options, [() => created(s, taken, body)]);
    });
  examples(
    copy,
    `berth snapshot copy web before-upgrade web-old
     berth snapshot copy web before-upgrade web-test --set spec.memoryMiB=48 --timeout 600`,
  );
};

const nameOfCopy = (instance: string, volume: string): string => `${instance}-${volume}`;
const dataOf = (taken: Snapshot): Snapshot['disks'] => taken.disks.filter((disk) => !disk.root);

/** What is asked for: as its instance is now, but for its disks, and for the ports of its host, which are taken. */
function copyOf({ labels, spec }: Schemas['Instance'], taken: Snapshot, name: string): Body {
  const readOnly = (volume: string): boolean =>
    spec.volumes.find((mount) => mount.name === volume)?.readOnly ?? false;
  return {
    name,
    labels,
    spec: {
      ...spec,
      desired: 'running',
      rootDisk: { ...spec.rootDisk, source: { instance: taken.instance, snapshot: taken.name } },
      nics: spec.nics.map(({ ports: _, ...nic }) => nic),
      volumes: dataOf(taken).map(({ volume }) => ({
        name: nameOfCopy(name, volume),
        readOnly: readOnly(volume),
      })),
    },
  };
}

/** The instance, and its data volumes before it: of one that is refused none is left. */
async function created(s: Session, taken: Snapshot, body: Body): Promise<Schemas['Accepted']> {
  const params = inProject(s);
  const made: string[] = [];
  try {
    for (const { volume } of dataOf(taken)) {
      const was = await answer(
        s.api.rest.GET(`${volumes}/{volume}`, { params: { path: { project: s.project, volume } } }),
      );
      const name = nameOfCopy(body.name, volume);
      const source = { instance: taken.instance, snapshot: taken.name, volume };
      const { pool, sizeMiB, limits } = was;
      const request = { name, pool, sizeMiB, limits, format: 'qcow2' as const, source };
      await answer(s.api.rest.POST(volumes, { params, body: request }));
      made.push(name);
    }
    return await answer(s.api.rest.POST('/v1/projects/{project}/instances', { params, body }));
  } catch (error) {
    for (const volume of made)
      await s.api.rest.DELETE(`${volumes}/{volume}`, { params: { path: { project: s.project, volume } } });
    throw error;
  }
}
