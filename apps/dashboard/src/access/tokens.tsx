import { Button, NativeSelect, TextInput } from '@mantine/core';
import { answer } from '@berth/client';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { useState, type FormEvent } from 'react';
import { api } from '../api/client.js';
import { fieldSaid, said } from '../api/problem.js';
import { projectsQuery, tokensQuery } from '../api/queries.js';
import { sessionQuery } from '../api/session.js';
import { ActionsHead } from '../parts/actions-head.js';
import { Failure, Waiting } from '../parts/notices.js';
import { Page, Panel } from '../parts/page.js';
import { State } from '../parts/state.js';
import { Time, useNow } from '../parts/time.js';
import { Confirmed } from '../parts/confirm.js';

export function TokensPage() {
  const { data, error, refetch } = useQuery(tokensQuery);
  const now = useNow();
  return (
    <Page title="Tokens">
      <Make />
      {error !== null && <Failure error={error} retry={() => void refetch()} />}
      {data === undefined && error === null && <Waiting />}
      {data !== undefined && (
        <table className="list">
          <thead>
            <tr>
              <th scope="col">Name</th>
              <th scope="col">Role</th>
              <th scope="col" className="from-s">
                Project
              </th>
              <th scope="col">State</th>
              <th scope="col" className="from-m">
                Created
              </th>
              <th scope="col" className="from-m">
                Expires
              </th>
              <ActionsHead />
            </tr>
          </thead>
          <tbody>
            {data.map((t) => {
              const state =
                t.revokedAt !== null
                  ? 'revoked'
                  : t.expiresAt !== null && Date.parse(t.expiresAt) <= now
                    ? 'expired'
                    : 'valid';
              return (
                <tr key={t.id}>
                  <td className="main-cell">{t.name}</td>
                  <td>{t.role}</td>
                  <td className="from-s">{t.project ?? 'all'}</td>
                  <td>
                    <State state={state} />
                  </td>
                  <td className="from-m dim">
                    <Time at={t.createdAt} />
                  </td>
                  <td className="from-m dim">
                    <Time at={t.expiresAt} />
                  </td>
                  <td className="actions-cell">{state === 'valid' && <Revoke id={t.id} name={t.name} />}</td>
                </tr>
              );
            })}
          </tbody>
        </table>
      )}
    </Page>
  );
}

function Make() {
  const client = useQueryClient();
  const session = useQuery(sessionQuery).data;
  const projects = (useQuery(projectsQuery).data ?? []).map((p) => p.name);
  const cluster = session?.project === null;
  const [name, setName] = useState('');
  const [role, setRole] = useState<'viewer' | 'operator' | 'admin'>('viewer');
  const [project, setProject] = useState(session?.project ?? '');
  const make = useMutation({
    mutationFn: () =>
      answer(api.rest.POST('/v1/tokens', { body: { name, role, project: project === '' ? null : project } })),
    onSuccess: () => {
      setName('');
      void client.invalidateQueries({ queryKey: ['tokens'] });
    },
  });
  const submit = (event: FormEvent): void => {
    event.preventDefault();
    make.mutate();
  };
  const problem = said(make.error);
  return (
    <Panel title="Create a token" className="upload">
      <form onSubmit={submit} className="upload-form labelled">
        <TextInput
          label="Name"
          value={name}
          error={fieldSaid(problem.fields, '/name')}
          onChange={(e) => setName(e.currentTarget.value)}
          autoComplete="off"
        />
        <NativeSelect
          label="Role"
          value={role}
          onChange={(e) => setRole(e.currentTarget.value as typeof role)}
          data={['viewer', 'operator', 'admin']}
        />
        <NativeSelect
          label="Project"
          value={project}
          onChange={(e) => setProject(e.currentTarget.value)}
          data={[...(cluster ? [{ value: '', label: 'every project' }] : []), ...projects]}
        />
        <Button type="submit" loading={make.isPending} disabled={name === ''}>
          Create
        </Button>
      </form>
      {make.isError && <Failure error={make.error} />}
      {make.data !== undefined && make.data.secret !== null && (
        <p className="flat secret" role="status">
          <span>{make.data.name}, shown only now, valid for 90 days:</span>
          <code tabIndex={0}>{make.data.secret}</code>
        </p>
      )}
    </Panel>
  );
}

function Revoke({ id, name }: { id: string; name: string }) {
  const client = useQueryClient();
  const revoke = useMutation({
    mutationFn: () => answer(api.rest.DELETE('/v1/tokens/{id}', { params: { path: { id } } })),
    onSuccess: () => void client.invalidateQueries({ queryKey: ['tokens'] }),
  });
  return (
    <Confirmed
      act={revoke}
      icon="trash"
      verb="Revoke"
      label={`Revoke ${name}`}
      title={`Revoke ${name}?`}
      name={name}
    >
      <p className="flat">
        Whoever uses it is refused from now on, and browsers that signed in with it are signed out.
      </p>
    </Confirmed>
  );
}
