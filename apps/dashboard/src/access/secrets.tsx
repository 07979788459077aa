import { Button, Checkbox, FileButton, Textarea, TextInput } from '@mantine/core';
import { answer } from '@berth/client';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { Link, useParams } from '@tanstack/react-router';
import { useState, type FormEvent } from 'react';
import { api, type Secret } from '../api/client.js';
import { fieldSaid, said } from '../api/problem.js';
import { secretsQuery } from '../api/queries.js';
import { covers, sessionQuery } from '../api/session.js';
import { ActionsHead } from '../parts/actions-head.js';
import { ActButton } from '../parts/act-button.js';
import { Confirmed } from '../parts/confirm.js';
import { Dialog } from '../parts/dialog.js';
import { bytes } from '../parts/format.js';
import { Empty, Failure, Waiting } from '../parts/notices.js';
import { Page, Panel } from '../parts/page.js';
import { Time } from '../parts/time.js';

const one = '/v1/projects/{project}/secrets/{name}';

/** Secrets of a project: what there is and who uses it. Values go in, and are shown to nobody again. */
export function SecretsPage() {
  const { project } = useParams({ from: '/inside/p/$project/secrets' });
  const { data, error, refetch } = useQuery(secretsQuery(project));
  const operator = covers(useQuery(sessionQuery).data, 'operator');
  return (
    <Page title="Secrets">
      {operator && <Make project={project} known={(data ?? []).map((s) => s.name)} />}
      {error !== null && <Failure error={error} retry={() => void refetch()} />}
      {data === undefined && error === null && <Waiting rows={3} />}
      {data?.length === 0 && (
        <Empty title="No secrets yet">
          <p className="flat">
            Passwords, keys and certificates, which containers and microVMs have as files in memory or as
            variables. A value is kept sealed, and shown to nobody again.
          </p>
        </Empty>
      )}
      {data !== undefined && data.length > 0 && (
        <table className="list">
          <thead>
            <tr>
              <th scope="col">Name</th>
              <th scope="col">Used by</th>
              <th scope="col" className="num from-m">
                Version
              </th>
              <th scope="col" className="from-m">
                Created
              </th>
              <th scope="col" className="from-s">
                New value
              </th>
              {operator && <ActionsHead />}
            </tr>
          </thead>
          <tbody>
            {data.map((secret) => (
              <Row key={secret.id} secret={secret} operator={operator} />
            ))}
          </tbody>
        </table>
      )}
    </Page>
  );
}

function Row({ secret, operator }: { secret: Secret; operator: boolean }) {
  const { project, usedBy, resourceVersion, createdAt, updatedAt } = secret;
  return (
    <tr>
      <td className="main-cell">{secret.name}</td>
      <td className="anywhere">
        {usedBy.length === 0 && <span className="dim">nothing</span>}
        {usedBy.map((name, i) => (
          <span key={name}>
            {i > 0 && ', '}
            <Link to="/p/$project/instances/$name" params={{ project, name }}>
              {name}
            </Link>
          </span>
        ))}
      </td>
      <td className="num from-m">{resourceVersion}</td>
      <td className="from-m dim">
        <Time at={createdAt} />
      </td>
      <td className="from-s dim">{resourceVersion === 1 ? 'never since' : <Time at={updatedAt} />}</td>
      {operator && (
        <td className="actions-cell">
          <Replace secret={secret} />
          <Remove secret={secret} />
        </td>
      )}
    </tr>
  );
}

type Value = { readonly value: string } | { readonly base64: string };

/** Seals a value, of a new secret or of one as it was seen. */
function usePut(project: string) {
  const client = useQueryClient();
  return useMutation({
    mutationFn: ({ name, body, version }: { name: string; body: Value; version?: number }) =>
      answer(
        api.rest.PUT(one, {
          params: {
            path: { project, name },
            ...(version === undefined ? {} : { header: { 'if-match': `"${version}"` } }),
          },
          body,
        }),
      ),
    onSuccess: () => client.invalidateQueries({ queryKey: secretsQuery(project).queryKey }),
  });
}

function Make({ project, known }: { project: string; known: readonly string[] }) {
  const [name, setName] = useState('');
  const [value, setValue] = useState<Value | null>(null);
  const put = usePut(project);
  const taken = known.includes(name);
  const { fields } = said(put.error);
  const submit = (event: FormEvent): void => {
    event.preventDefault();
    if (value === null) return;
    const done = (): void => {
      setName('');
      setValue(null);
    };
    put.mutate({ name, body: value }, { onSuccess: done });
  };
  return (
    <Panel title="Create a secret" className="upload">
      <form onSubmit={submit} className="stack secret-form">
        <TextInput
          label="Name"
          value={name}
          error={
            taken
              ? `There is a secret ${name}: give it a new value in the list below.`
              : fieldSaid(fields, 'path/name')
          }
          onChange={(e) => setName(e.currentTarget.value)}
          autoComplete="off"
          spellCheck={false}
        />
        <ValueOf value={value} error={valueSaid(fields)} onChange={setValue} />
        <div className="actions">
          <Button type="submit" loading={put.isPending} disabled={name === '' || taken || value === null}>
            Create
          </Button>
        </div>
        {put.isError && <Failure error={put.error} />}
      </form>
    </Panel>
  );
}

const valueSaid = (fields: Parameters<typeof fieldSaid>[0]): string | undefined =>
  fieldSaid(fields, '/value') ?? fieldSaid(fields, '/base64');

/** Gives a secret another value. What was given meanwhile by somebody else is not overwritten. */
function Replace({ secret }: { secret: Secret }) {
  const { project, name, resourceVersion, usedBy } = secret;
  const [value, setValue] = useState<Value | null>(null);
  const [version, setVersion] = useState<number | null>(null);
  const put = usePut(project);
  const close = (): void => setVersion(null);
  const open = (): void => {
    put.reset();
    setValue(null);
    setVersion(resourceVersion);
  };
  const submit = (event: FormEvent): void => {
    event.preventDefault();
    if (value !== null && version !== null) put.mutate({ name, body: value, version }, { onSuccess: close });
  };
  return (
    <>
      <ActButton icon="restart" verb="New value" label={`New value of ${name}`} onClick={open} />
      <Dialog opened={version !== null} title={`New value of ${name}`} onClose={close}>
        <form onSubmit={submit} className="stack">
          <p className="flat">
            The old value is gone then.{' '}
            {usedBy.length > 0 &&
              `Files in /run/secrets of what runs are replaced at once; other files and variables of ${usedBy.join(', ')} have it after their next start.`}
          </p>
          <ValueOf value={value} error={valueSaid(said(put.error).fields)} onChange={setValue} />
          {put.isError && <Failure error={put.error} />}
          <div className="actions end">
            <Button variant="default" onClick={close}>
              Keep the old one
            </Button>
            <Button type="submit" disabled={value === null} loading={put.isPending}>
              Replace
            </Button>
          </div>
        </form>
      </Dialog>
    </>
  );
}

/** A value that is typed, covered unless it is asked to be seen, or read from a file. */
function ValueOf(props: {
  value: Value | null;
  error: string | undefined;
  onChange: (value: Value | null) => void;
}) {
  const { value, error, onChange } = props;
  const [seen, setSeen] = useState(false);
  const [file, setFile] = useState<File | null>(null);
  const fromFile = value !== null && 'base64' in value && file !== null;
  const take = (chosen: File | null): void => {
    setFile(chosen);
    if (chosen !== null) void base64Of(chosen).then((base64) => onChange({ base64 }));
  };
  return (
    <div className="stack">
      {fromFile ? (
        <p className="flat">
          The value is the file {file.name}, {bytes(file.size)}.
          {error !== undefined && <span className="field-error"> {error}</span>}
        </p>
      ) : (
        <Textarea
          label="Value"
          description="Kept as it is typed, line ends too; at most 64 KiB"
          className={seen ? 'mono-input' : 'mono-input covered'}
          rows={3}
          value={value !== null && 'value' in value ? value.value : ''}
          error={error}
          onChange={(e) => onChange(e.currentTarget.value === '' ? null : { value: e.currentTarget.value })}
          autoComplete="off"
          spellCheck={false}
        />
      )}
      <div className="actions">
        {!fromFile && (
          <Checkbox label="Show it" checked={seen} onChange={(e) => setSeen(e.currentTarget.checked)} />
        )}
        <FileButton onChange={take}>
          {(more) => (
            <Button size="xs" variant="default" {...more}>
              From a file
            </Button>
          )}
        </FileButton>
        {fromFile && (
          <Button size="xs" variant="subtle" onClick={() => onChange(null)}>
            Type it instead
          </Button>
        )}
      </div>
    </div>
  );
}

async function base64Of(file: File): Promise<string> {
  const all = new Uint8Array(await file.arrayBuffer());
  let text = '';
  for (const byte of all) text += String.fromCharCode(byte);
  return btoa(text);
}

function Remove({ secret }: { secret: Secret }) {
  const client = useQueryClient();
  const { project, name, usedBy } = secret;
  const act = useMutation({
    mutationFn: () => answer(api.rest.DELETE(one, { params: { path: { project, name } } })),
    onSuccess: () => void client.invalidateQueries({ queryKey: secretsQuery(project).queryKey }),
  });
  return (
    <Confirmed
      {...{ name, act }}
      icon="trash"
      verb="Delete"
      label={`Delete ${name}`}
      hint={usedBy.length === 0 ? 'Delete' : `In use by ${usedBy.join(', ')}`}
      disabled={usedBy.length > 0}
      title={`Delete secret ${name}?`}
    >
      <p className="flat">Its value cannot be read back or brought back.</p>
    </Confirmed>
  );
}
