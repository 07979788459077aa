import { Button, PasswordInput, TextInput } from '@mantine/core';
import { answer } from '@berth/client';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { useState, type FormEvent } from 'react';
import { api, type Registry } from '../api/client.js';
import { fieldSaid, said } from '../api/problem.js';
import { registriesQuery } from '../api/queries.js';
import { ActionsHead } from '../parts/actions-head.js';
import { Failure } from '../parts/notices.js';
import { Panel } from '../parts/page.js';
import { Confirmed } from '../parts/confirm.js';
import { Time } from '../parts/time.js';

/** What the project signs in with at registries. Secrets go in, and never come back. */
export function Registries({ project }: { project: string }) {
  const client = useQueryClient();
  const kept = useQuery(registriesQuery(project));
  const [host, setHost] = useState('');
  const [username, setUsername] = useState('');
  const [password, setPassword] = useState('');
  const keep = useMutation({
    mutationFn: () =>
      answer(
        api.rest.PUT('/v1/projects/{project}/registries/{host}', {
          params: { path: { project, host: host.trim() } },
          body: { username, password },
        }),
      ),
    onSuccess: () => {
      for (const clear of [setHost, setUsername, setPassword]) clear('');
      void client.invalidateQueries({ queryKey: ['registries', project] });
    },
  });
  const submit = (event: FormEvent): void => {
    event.preventDefault();
    keep.mutate();
  };
  const { fields } = said(keep.error);
  return (
    <Panel title="Sign-ins at registries" className="below">
      <form onSubmit={submit} className="upload-form">
        <TextInput
          aria-label="Registry"
          placeholder="registry.example:5000"
          value={host}
          error={fieldSaid(fields, 'path/host')}
          onChange={(e) => setHost(e.currentTarget.value)}
          disabled={keep.isPending}
          autoComplete="off"
        />
        {host !== '' && (
          <>
            <TextInput
              aria-label="User name at the registry"
              placeholder="User name"
              value={username}
              error={fieldSaid(fields, '/username')}
              onChange={(e) => setUsername(e.currentTarget.value)}
              disabled={keep.isPending}
              autoComplete="off"
            />
            <PasswordInput
              aria-label="Password at the registry"
              placeholder="Password or token"
              value={password}
              error={fieldSaid(fields, '/password')}
              onChange={(e) => setPassword(e.currentTarget.value)}
              disabled={keep.isPending}
              autoComplete="new-password"
            />
            <Button type="submit" disabled={username === '' || password === ''} loading={keep.isPending}>
              Keep
            </Button>
          </>
        )}
      </form>
      {kept.data?.length === 0 && (
        <p className="flat dim small">
          Pulls are anonymous. Name a registry, and a user and password to sign in with there.
        </p>
      )}
      {keep.isError && <Failure error={keep.error} />}
      {kept.isError && <Failure error={kept.error} retry={() => void kept.refetch()} />}
      {kept.data !== undefined && kept.data.length > 0 && (
        <table className="list">
          <thead>
            <tr>
              <th scope="col">Registry</th>
              <th scope="col">Signs in as</th>
              <th scope="col" className="from-m">
                Changed
              </th>
              <ActionsHead />
            </tr>
          </thead>
          <tbody>
            {kept.data.map((one) => (
              <tr key={one.id}>
                <td className="main-cell">{one.host}</td>
                <td>{one.username ?? <span className="dim">identity token</span>}</td>
                <td className="from-m dim">
                  <Time at={one.updatedAt} />
                </td>
                <td className="actions-cell">
                  <Forget one={one} />
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
    </Panel>
  );
}

function Forget({ one }: { one: Registry }) {
  const client = useQueryClient();
  const { project, host } = one;
  const forget = useMutation({
    mutationFn: () =>
      answer(
        api.rest.DELETE('/v1/projects/{project}/registries/{host}', { params: { path: { project, host } } }),
      ),
    onSuccess: () => void client.invalidateQueries({ queryKey: ['registries', project] }),
  });
  return (
    <Confirmed
      act={forget}
      icon="trash"
      verb="Forget"
      label={`Forget ${host}`}
      title={`Forget what the project signs in with at ${host}?`}
      name={host}
    >
      <p className="flat">Pulls from there are anonymous then, unless they bring a password of their own.</p>
    </Confirmed>
  );
}
