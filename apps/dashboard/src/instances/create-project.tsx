import { Checkbox, NativeSelect, TextInput } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import type { Volume } from '../api/client.js';
import { namesQuery, secretsQuery, volumesQuery } from '../api/queries.js';
import { mib } from '../parts/format.js';
import { Folded, Rows, type Form } from './fields.js';
import { firstSecret, volumePath, type DependencyDraft } from './form-parts.js';
import { NoneYet } from './create-parts.js';

/* Parts of the form that choose among what the project has: volumes, secrets, other instances. */

interface Part {
  readonly form: Form;
  readonly project: string;
}

/** Volumes that an instance of this isolation could have, and nobody has. */
const suits = (volume: Volume, oci: boolean): boolean =>
  volume.kind === 'data' && volume.owner === null && (volume.format === 'ext4') === oci;

export function Volumes({ form, project }: Part) {
  const { draft, change, error } = form;
  const oci = draft.isolation !== 'vm';
  const free = (useQuery(volumesQuery(project)).data ?? []).filter((v) => suits(v, oci));
  const left = free.find((v) => draft.volumes.every((row) => row.name !== v.name));
  return (
    <Folded
      title="Data volumes"
      chosen={draft.volumes.map((v) => v.name).join(', ')}
      wrong={error('/spec/volumes') !== undefined}
    >
      {free.length === 0 && (
        <NoneYet project={project} to="/p/$project/volumes">
          There is no free volume of format{' '}
          {oci ? 'ext4, which containers have' : 'qcow2 or raw, which machines have'}.
        </NoneYet>
      )}
      <Rows
        one="volume"
        rows={draft.volumes}
        next={left === undefined ? null : { name: left.name, path: volumePath(left.name), readOnly: false }}
        onChange={(volumes) => change({ volumes })}
      >
        {(row, i, edit) => (
          <>
            <NativeSelect
              label="Volume"
              value={row.name}
              error={error(`/spec/volumes/${i}/name`)}
              onChange={({ currentTarget: { value: name } }) =>
                edit({ name, ...(row.path === volumePath(row.name) ? { path: volumePath(name) } : {}) })
              }
              data={[
                ...(free.some((v) => v.name === row.name) ? [] : [row.name]),
                ...free.map((v) => ({ value: v.name, label: `${v.name} (${mib(v.sizeMiB)})` })),
              ]}
            />
            {oci && (
              <TextInput
                label="Where it has it"
                className="mono-input"
                value={row.path}
                error={error(`/spec/volumes/${i}/path`)}
                onChange={(e) => edit({ path: e.currentTarget.value })}
                autoComplete="off"
                spellCheck={false}
              />
            )}
            <Checkbox
              className="beside"
              label="Read-only"
              checked={row.readOnly}
              onChange={(e) => edit({ readOnly: e.currentTarget.checked })}
            />
          </>
        )}
      </Rows>
    </Folded>
  );
}

export function Secrets({ form, project }: Part) {
  const { draft, change, error } = form;
  const all = (useQuery(secretsQuery(project)).data ?? []).map((s) => s.name);
  const [first] = all;
  return (
    <Folded
      title="Secrets"
      chosen={[...new Set(draft.secrets.map((s) => s.name))].join(', ')}
      wrong={error('/spec/secrets') !== undefined}
    >
      {first === undefined && (
        <NoneYet project={project} to="/p/$project/secrets">
          The project has no secrets.
        </NoneYet>
      )}
      <Rows
        one="secret"
        rows={draft.secrets}
        next={
          first === undefined
            ? null
            : { ...firstSecret, name: all.find((s) => draft.secrets.every((row) => row.name !== s)) ?? first }
        }
        onChange={(secrets) => change({ secrets })}
      >
        {(row, i, edit) => {
          const at = `/spec/secrets/${i}`;
          const text = (key: 'path' | 'env' | 'mode' | 'uid' | 'gid', label: string, placeholder: string) => (
            <TextInput
              label={label}
              className="mono-input"
              placeholder={placeholder}
              value={row[key]}
              error={error(`${at}/${key}`)}
              onChange={(e) => edit({ [key]: e.currentTarget.value })}
              autoComplete="off"
              spellCheck={false}
            />
          );
          return (
            <>
              <NativeSelect
                label="Secret"
                value={row.name}
                error={error(`${at}/name`)}
                onChange={(e) => edit({ name: e.currentTarget.value })}
                data={all.includes(row.name) ? all : [row.name, ...all]}
              />
              {text('path', 'File', row.env === '' ? `/run/secrets/${row.name}` : 'none')}
              {text('env', 'Variable', 'none')}
              {text('mode', "The file's mode, octal", '0400')}
              {text('uid', "The file's user, number", '0')}
              {text('gid', "The file's group, number", '0')}
            </>
          );
        }}
      </Rows>
    </Folded>
  );
}

const conditions: readonly { value: DependencyDraft['condition']; label: string }[] = [
  { value: 'running', label: 'runs' },
  { value: 'ready', label: 'is ready, by its readiness probe' },
  { value: 'healthy', label: 'is healthy, by its liveness probe' },
  { value: 'completed', label: 'has done its work and ended with 0' },
];

export function StartsAfter({ form, project }: Part) {
  const { draft, change, error } = form;
  const all = useQuery(namesQuery(project)).data ?? [];
  const left = all.find((name) => draft.dependsOn.every((row) => row.instance !== name)) ?? '';
  return (
    <Folded
      title="Starts after"
      chosen={draft.dependsOn.map((d) => d.instance).join(', ')}
      wrong={error('/spec/dependsOn') !== undefined}
    >
      <p className="flat dim">
        It waits in pending until these are so. What becomes of them later does not touch it.
      </p>
      <datalist id="instances-of-project">
        {all.map((name) => (
          <option key={name} value={name} />
        ))}
      </datalist>
      <Rows<DependencyDraft>
        one="dependency"
        rows={draft.dependsOn}
        next={{ instance: left, condition: 'running' }}
        onChange={(dependsOn) => change({ dependsOn })}
      >
        {(row, i, edit) => (
          <>
            <TextInput
              label="Instance"
              list="instances-of-project"
              value={row.instance}
              error={error(`/spec/dependsOn/${i}/instance`)}
              onChange={(e) => edit({ instance: e.currentTarget.value })}
              autoComplete="off"
              spellCheck={false}
            />
            <NativeSelect
              label="When it"
              value={row.condition}
              error={error(`/spec/dependsOn/${i}/condition`)}
              onChange={(e) => edit({ condition: e.currentTarget.value as DependencyDraft['condition'] })}
              data={[...conditions]}
            />
          </>
        )}
      </Rows>
    </Folded>
  );
}
