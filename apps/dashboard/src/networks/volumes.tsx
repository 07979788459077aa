import { Button, NativeSelect, TextInput } from '@mantine/core';
import { answer } from '@berth/client';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { Link, useParams } from '@tanstack/react-router';
import { useState, type FormEvent } from 'react';
import { api, type Volume } from '../api/client.js';
import { fieldSaid, said } from '../api/problem.js';
import { operationQuery, volumesQuery } from '../api/queries.js';
import { covers, sessionQuery } from '../api/session.js';
import { numberOf } from '../instances/typed.js';
import { ActionsHead } from '../parts/actions-head.js';
import { Confirmed } from '../parts/confirm.js';
import { mib } from '../parts/format.js';
import { Empty, Failure, Waiting } from '../parts/notices.js';
import { Page, Panel } from '../parts/page.js';
import { Time } from '../parts/time.js';

const kinds: Readonly<Record<string, string>> = {
  rootDisk: 'root disk',
  writableLayer: 'writable layer',
  data: 'data',
  export: 'export',
};

const formats: Readonly<Record<string, string>> = { dir: 'ext4', ext4: 'ext4, for containers' };

export function VolumesPage() {
  const { project } = useParams({ from: '/inside/p/$project/volumes' });
  const { data, error, refetch } = useQuery(volumesQuery(project));
  const operator = covers(useQuery(sessionQuery).data, 'operator');
  return (
    <Page title="Volumes">
      {operator && <Make project={project} />}
      {error !== null && <Failure error={error} retry={() => void refetch()} />}
      {data === undefined && error === null && <Waiting />}
      {data?.length === 0 && (
        <Empty title="No volumes">
          <p className="flat">
            Each instance brings its root disk or writable layer. Data volumes outlive instances.
          </p>
        </Empty>
      )}
      {data !== undefined && data.length > 0 && (
        <table className="list">
          <thead>
            <tr>
              <th scope="col">Name</th>
              <th scope="col">Instance</th>
              <th scope="col">Kind</th>
              <th scope="col" className="num">
                Size
              </th>
              <th scope="col" className="from-s">
                Host
              </th>
              <th scope="col" className="from-m">
                Pool
              </th>
              <th scope="col" className="from-l">
                Id
              </th>
              <th scope="col" className="from-m">
                Created
              </th>
              {operator && <ActionsHead />}
            </tr>
          </thead>
          <tbody>
            {data.map((v) => (
              <tr key={v.id}>
                <td className="main-cell">
                  {v.name}
                  {v.export !== null && <ExportSaid volume={v} />}
                  {v.cloning !== null && <p className="dim">is being copied from {v.cloning.from}</p>}
                </td>
                <td>
                  {v.owner === null ? (
                    <span className="dim">none</span>
                  ) : (
                    <Link to="/p/$project/instances/$name" params={{ project, name: v.owner.instance }}>
                      {v.owner.instance}
                    </Link>
                  )}
                </td>
                <td>
                  {kinds[v.kind] ?? v.kind}
                  <span className="dim">, {formats[v.format] ?? v.format}</span>
                </td>
                <td className="num nowrap">{mib(v.sizeMiB)}</td>
                <td className="from-s">{v.host?.name ?? <span className="dim">none yet</span>}</td>
                <td className="from-m">{v.pool}</td>
                <td className="from-l mono dim">{v.id}</td>
                <td className="from-m dim">
                  <Time at={v.createdAt} />
                </td>
                {operator && (
                  <td className="actions-cell">
                    {isDisk(v) && <Clone volume={v} />}
                    {isDisk(v) && <Export volume={v} />}
                    {v.export !== null && v.export.file !== null && <Download volume={v} />}
                    {(v.kind === 'data' || v.kind === 'export') && <Remove volume={v} />}
                  </td>
                )}
              </tr>
            ))}
          </tbody>
        </table>
      )}
    </Page>
  );
}

/** What is copied and exported: a file system of containers is neither. */
const isDisk = (v: Volume): boolean => v.kind === 'data' && v.format !== 'ext4';

function Make({ project }: { project: string }) {
  const client = useQueryClient();
  const [name, setName] = useState('');
  const [size, setSize] = useState('1024');
  const [format, setFormat] = useState<'ext4' | 'qcow2' | 'raw'>('ext4');
  const make = useMutation({
    mutationFn: () =>
      answer(
        api.rest.POST('/v1/projects/{project}/volumes', {
          params: { path: { project } },
          body: { name, sizeMiB: numberOf(size), format },
        }),
      ),
    onSuccess: async () => {
      setName('');
      await client.invalidateQueries({ queryKey: volumesQuery(project).queryKey });
    },
  });
  const submit = (event: FormEvent): void => {
    event.preventDefault();
    make.mutate();
  };
  const { fields } = said(make.error);
  return (
    <Panel title="Create a data volume" className="upload">
      <form onSubmit={submit} className="upload-form labelled">
        <TextInput
          label="Name"
          value={name}
          error={fieldSaid(fields, '/name')}
          onChange={(e) => setName(e.currentTarget.value)}
          autoComplete="off"
          spellCheck={false}
        />
        <TextInput
          label="Size, MiB"
          inputMode="numeric"
          value={size}
          error={fieldSaid(fields, '/sizeMiB')}
          onChange={(e) => setSize(e.currentTarget.value)}
          autoComplete="off"
        />
        <NativeSelect
          label="For"
          value={format}
          error={fieldSaid(fields, '/format')}
          onChange={(e) => setFormat(e.currentTarget.value as typeof format)}
          data={[
            { value: 'ext4', label: 'containers: a file system (ext4)' },
            { value: 'qcow2', label: 'machines: a disk (qcow2)' },
            { value: 'raw', label: 'machines: a disk (raw)' },
          ]}
        />
        <Button type="submit" loading={make.isPending} disabled={name === ''}>
          Create
        </Button>
      </form>
      {make.isError && <Failure error={make.error} />}
    </Panel>
  );
}

function Remove({ volume: { project, name, owner } }: { volume: Volume }) {
  const client = useQueryClient();
  const act = useMutation({
    mutationFn: () =>
      answer(
        api.rest.DELETE('/v1/projects/{project}/volumes/{volume}', {
          params: { path: { project, volume: name } },
        }),
      ),
    onSuccess: () => client.invalidateQueries({ queryKey: volumesQuery(project).queryKey }),
  });
  return (
    <Confirmed
      {...{ name, act }}
      icon="trash"
      verb="Delete"
      label={`Delete ${name}`}
      hint={owner === null ? 'Delete' : `In use by ${owner.instance}`}
      disabled={owner !== null}
      title={`Delete volume ${name}?`}
    >
      <p className="flat">What is on it is lost. This cannot be undone.</p>
    </Confirmed>
  );
}

/** What an export is of, and how far its host is: progress is in no event, its end is. */
function ExportSaid({ volume: { export: told } }: { volume: Volume }) {
  const operation = useQuery({
    ...operationQuery(told?.operationId ?? ''),
    enabled: told !== null && told.file === null,
    refetchInterval: 2_000,
  });
  if (told === null) return null;
  if (told.file === null)
    return (
      <p className="dim">
        of {told.of}, {operation.data?.progress ?? 0} % made
      </p>
    );
  return (
    <p className="dim">
      of {told.of}, consistency {told.consistency}
      {told.expiresAt !== null && (
        <>
          , kept until <Time at={told.expiresAt} />
        </>
      )}
    </p>
  );
}

/** The browser saves it, as the API sends it. */
function Download({ volume: { project, name } }: { volume: Volume }) {
  return (
    <Button
      component="a"
      href={`/v1/projects/${encodeURIComponent(project)}/volumes/${encodeURIComponent(name)}/file`}
      download
      size="compact-sm"
      variant="default"
      aria-label={`Download ${name}`}
    >
      Download
    </Button>
  );
}

/** Asks for a file of what the volume holds now. */
function Export({ volume: { project, name, cloning } }: { volume: Volume }) {
  const client = useQueryClient();
  const ask = useMutation({
    mutationFn: () =>
      answer(
        api.rest.POST('/v1/projects/{project}/volumes/{volume}/actions/export', {
          params: { path: { project, volume: name } },
          body: {},
        }),
      ),
    onSuccess: () => client.invalidateQueries({ queryKey: volumesQuery(project).queryKey }),
  });
  return (
    <>
      <Button
        size="compact-sm"
        variant="default"
        disabled={cloning !== null}
        loading={ask.isPending}
        aria-label={`Export ${name}`}
        onClick={() => ask.mutate()}
      >
        Export
      </Button>
      {ask.isError && <Failure error={ask.error} />}
    </>
  );
}

/** Asks for a name, and makes a volume of it that holds what this one holds. */
function Clone({ volume }: { volume: Volume }) {
  const { project, name } = volume;
  const [wanted, setWanted] = useState<string | null>(null);
  const client = useQueryClient();
  const clone = useMutation({
    mutationFn: (copy: string) =>
      answer(
        api.rest.POST('/v1/projects/{project}/volumes/{volume}/actions/clone', {
          params: { path: { project, volume: name } },
          body: { name: copy },
        }),
      ),
    onSuccess: async () => {
      setWanted(null);
      await client.invalidateQueries({ queryKey: volumesQuery(project).queryKey });
    },
  });
  if (wanted === null)
    return (
      <Button
        size="compact-sm"
        variant="default"
        disabled={volume.cloning !== null}
        aria-label={`Clone ${name}`}
        onClick={() => setWanted(`${name}-copy`)}
      >
        Clone
      </Button>
    );
  const submit = (event: FormEvent): void => {
    event.preventDefault();
    clone.mutate(wanted);
  };
  return (
    <form onSubmit={submit} className="stack">
      <TextInput
        aria-label={`Name of the clone of ${name}`}
        value={wanted}
        error={fieldSaid(said(clone.error).fields, '/name')}
        onChange={(e) => setWanted(e.currentTarget.value)}
        autoComplete="off"
        spellCheck={false}
      />
      <Button type="submit" size="compact-sm" disabled={wanted === ''} loading={clone.isPending}>
        Clone
      </Button>
      <Button size="compact-sm" variant="subtle" onClick={() => setWanted(null)}>
        Cancel
      </Button>
      {clone.isError && <Failure error={clone.error} />}
    </form>
  );
}
