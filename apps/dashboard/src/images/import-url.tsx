import { Button, NativeSelect, PasswordInput, TextInput } from '@mantine/core';
import { answer } from '@berth/client';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { useState, type FormEvent } from 'react';
import { api, type Operation } from '../api/client.js';
import { fieldSaid, said } from '../api/problem.js';
import { importsQuery } from '../api/queries.js';
import { Failure } from '../parts/notices.js';
import { Panel } from '../parts/page.js';
import { type ImageKind, kindLabels, nameFrom } from './upload.js';

/** How an address is written that is an image in a registry: as for skopeo and podman, and the command line. */
const registryScheme = 'docker://';

/** Has the API download an image, from an address or a registry. What is under way is shown below, whoever began it, and what failed of the newest ones. */
export function ImportUrl({ project }: { project: string }) {
  const client = useQueryClient();
  const [url, setUrl] = useState('');
  const [name, setName] = useState('');
  const [kind, setKind] = useState<ImageKind>('disk');
  const [sha256, setSha256] = useState('');
  const [username, setUsername] = useState('');
  const [password, setPassword] = useState('');
  const inRegistry = url.startsWith(registryScheme);
  const imports = useQuery(importsQuery(project));
  const begin = useMutation({
    mutationFn: () =>
      answer(
        api.rest.POST('/v1/projects/{project}/images/import', {
          params: { path: { project } },
          body: inRegistry
            ? { name, kind: 'oci', registry: registryOf(url, username, password) }
            : { name, kind, url, ...(sha256 === '' ? {} : { sha256: sha256.trim().toLowerCase() }) },
        }),
      ),
    onSuccess: () => {
      for (const clear of [setUrl, setName, setSha256, setUsername, setPassword]) clear('');
      void client.invalidateQueries({ queryKey: ['operations', project] });
    },
  });
  const changed = (address: string): void => {
    begin.reset();
    setUrl(address);
    if (address.startsWith(registryScheme)) {
      const repository = address
        .slice(registryScheme.length)
        .replace(/@.*$/, '')
        .replace(/:[^/]*$/, '');
      return setName(nameFrom(repository.split('/').slice(1).at(-1) ?? ''));
    }
    const file = address.split(/[?#]/)[0]?.split('/').at(-1) ?? '';
    setName(nameFrom(file));
    setKind(/\.iso$/i.test(file) ? 'iso' : /\.(tar|tgz|tar\.gz)$/i.test(file) ? 'oci' : 'disk');
  };
  const submit = (event: FormEvent): void => {
    event.preventDefault();
    begin.mutate();
  };
  const { fields } = said(begin.error);
  return (
    <Panel title="Import from an address" className="upload">
      <form onSubmit={submit} className="upload-form">
        <TextInput
          aria-label="Address"
          placeholder="https://… or docker://registry/repository:tag"
          value={url}
          error={fieldSaid(fields, inRegistry ? '/registry/reference' : '/url')}
          onChange={(e) => changed(e.currentTarget.value)}
          disabled={begin.isPending}
          autoComplete="off"
          className="upload-address"
        />
        {url !== '' && (
          <>
            <TextInput
              aria-label="Name of the import"
              placeholder="Name"
              value={name}
              error={fieldSaid(fields, '/name')}
              onChange={(e) => setName(e.currentTarget.value)}
              disabled={begin.isPending}
              autoComplete="off"
            />
            {inRegistry ? (
              <>
                <TextInput
                  aria-label="User name"
                  placeholder="User name (optional)"
                  value={username}
                  error={fieldSaid(fields, '/registry/username')}
                  onChange={(e) => setUsername(e.currentTarget.value)}
                  disabled={begin.isPending}
                  autoComplete="off"
                />
                <PasswordInput
                  aria-label="Password"
                  placeholder="Password or token"
                  value={password}
                  error={fieldSaid(fields, '/registry/password')}
                  onChange={(e) => setPassword(e.currentTarget.value)}
                  disabled={begin.isPending}
                  autoComplete="off"
                />
              </>
            ) : (
              <>
                <NativeSelect
                  aria-label="Kind of the import"
                  value={kind}
                  onChange={(e) => setKind(e.currentTarget.value as ImageKind)}
                  data={[...kindLabels]}
                  disabled={begin.isPending}
                />
                <TextInput
                  aria-label="SHA-256"
                  placeholder="SHA-256 (optional)"
                  value={sha256}
                  error={fieldSaid(fields, '/sha256')}
                  onChange={(e) => setSha256(e.currentTarget.value)}
                  disabled={begin.isPending}
                  autoComplete="off"
                />
              </>
            )}
            <Button type="submit" disabled={name === ''} loading={begin.isPending}>
              Import
            </Button>
          </>
        )}
      </form>
      {begin.isError && <Failure error={begin.error} />}
      {imports.data?.map((operation) => (
        <Import key={operation.id} operation={operation} />
      ))}
    </Panel>
  );
}

function registryOf(address: string, username: string, password: string) {
  const reference = address.slice(registryScheme.length).trim();
  return {
    reference,
    ...(username === '' ? {} : { username }),
    ...(password === '' ? {} : { password }),
  };
}

function Import({ operation: o }: { operation: Operation }) {
  const step = o.steps.at(-1);
  if (o.error !== null)
    return (
      <p className="flat">
        {o.kind === 'imageCommit' ? 'Commit' : 'Import'} of {o.target.name} failed: {o.error.message}{' '}
        <span className="remedy">{o.error.remedy}</span>
      </p>
    );
  return (
    <div className="meter">
      <div className="meter-words">
        <span>
          {o.target.name}: {step === undefined ? 'waits for its turn' : step.name}
          {step?.message === undefined ? '' : `, ${step.message}`}
        </span>
        <span>{o.progress} %</span>
      </div>
      <div
        className="bar"
        role="progressbar"
        aria-label={`Import of ${o.target.name}`}
        aria-valuenow={o.progress}
        aria-valuemin={0}
        aria-valuemax={100}
      >
        <div style={{ width: `${o.progress}%` }} />
      </div>
    </div>
  );
}
