import { Button, Checkbox, TextInput } from '@mantine/core';
import { answer } from '@berth/client';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { useParams } from '@tanstack/react-router';
import { useState, type FormEvent } from 'react';
import { api } from '../api/client.js';
import { fieldSaid, said } from '../api/problem.js';
import { networksQuery } from '../api/queries.js';
import { covers, sessionQuery } from '../api/session.js';
import { ActionsHead } from '../parts/actions-head.js';
import { Empty, Failure, Waiting } from '../parts/notices.js';
import { Page, Panel } from '../parts/page.js';
import { Confirmed } from '../parts/confirm.js';
import { Time } from '../parts/time.js';

const scopes: Readonly<Record<string, string>> = {
  host: 'each host its own bridge',
  cluster: 'one over all hosts',
};

export function NetworksPage() {
  const { project } = useParams({ from: '/inside/p/$project/networks' });
  const { data, error, refetch } = useQuery(networksQuery(project));
  const operator = covers(useQuery(sessionQuery).data, 'operator');
  return (
    <Page title="Networks">
      {operator && <Make project={project} />}
      {error !== null && <Failure error={error} retry={() => void refetch()} />}
      {data === undefined && error === null && <Waiting rows={2} />}
      {data?.length === 0 && <Empty title="No networks" />}
      {data !== undefined && data.length > 0 && (
        <table className="list">
          <thead>
            <tr>
              <th scope="col">Name</th>
              <th scope="col">Subnet</th>
              <th scope="col" className="from-s">
                Gateway, DHCP, DNS
              </th>
              <th scope="col" className="from-s">
                Way out
              </th>
              <th scope="col" className="from-m">
                Scope
              </th>
              <th scope="col" className="from-m">
                Created
              </th>
              {operator && <ActionsHead />}
            </tr>
          </thead>
          <tbody>
            {data.map((n) => (
              <tr key={n.id}>
                <td className="main-cell">{n.name}</td>
                <td className="mono">
                  {n.cidr}
                  {n.ipv6Cidr === null ? null : <div>{n.ipv6Cidr}</div>}
                </td>
                <td className="from-s mono">
                  {n.gateway}
                  {n.ipv6Gateway === null ? null : <div>{n.ipv6Gateway}</div>}
                </td>
                <td className="from-s">{n.internal ? 'none' : 'NAT'}</td>
                <td className="from-m">
                  {n.scope}: {scopes[n.scope]}
                </td>
                <td className="from-m dim">
                  <Time at={n.createdAt} />
                </td>
                {operator && (
                  <td className="actions-cell">
                    <Remove project={project} name={n.name} />
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

function Make({ project }: { project: string }) {
  const client = useQueryClient();
  const [name, setName] = useState('');
  const [cidr, setCidr] = useState('');
  const [prefix, setPrefix] = useState('');
  const [internal, setInternal] = useState(false);
  const make = useMutation({
    mutationFn: () =>
      answer(
        api.rest.POST('/v1/projects/{project}/networks', {
          params: { path: { project } },
          body: {
            name,
            internal,
            ...(cidr === '' ? {} : { cidr }),
            ...(prefix === '' ? {} : { ipv6Cidr: prefix }),
          },
        }),
      ),
    onSuccess: () => {
      setName('');
      setCidr('');
      setPrefix('');
      setInternal(false);
      void client.invalidateQueries({ queryKey: ['networks', project] });
    },
  });
  const submit = (event: FormEvent): void => {
    event.preventDefault();
    make.mutate();
  };
  const problem = said(make.error);
  return (
    <Panel title="Create a network" className="upload">
      <form onSubmit={submit} className="upload-form labelled">
        <TextInput
          label="Name"
          value={name}
          error={fieldSaid(problem.fields, '/name')}
          onChange={(e) => setName(e.currentTarget.value)}
          autoComplete="off"
        />
        <TextInput
          label="Subnet"
          placeholder="a free one"
          className="mono-input"
          value={cidr}
          error={fieldSaid(problem.fields, '/cidr')}
          onChange={(e) => setCidr(e.currentTarget.value)}
          autoComplete="off"
        />
        <TextInput
          label="IPv6 prefix"
          placeholder="none, or auto"
          className="mono-input"
          value={prefix}
          error={fieldSaid(problem.fields, '/ipv6Cidr')}
          onChange={(e) => setPrefix(e.currentTarget.value)}
          autoComplete="off"
        />
        <Checkbox
          label="Internal: no way out"
          checked={internal}
          onChange={(e) => setInternal(e.currentTarget.checked)}
        />
        <Button type="submit" loading={make.isPending} disabled={name === ''}>
          Create
        </Button>
      </form>
      {make.isError && <Failure error={make.error} />}
    </Panel>
  );
}

function Remove({ project, name }: { project: string; name: string }) {
  const client = useQueryClient();
  const remove = useMutation({
    mutationFn: () =>
      answer(
        api.rest.DELETE('/v1/projects/{project}/networks/{name}', { params: { path: { project, name } } }),
      ),
    onSuccess: () => void client.invalidateQueries({ queryKey: ['networks', project] }),
  });
  return (
    <Confirmed
      act={remove}
      icon="trash"
      verb="Delete"
      label={`Delete ${name}`}
      title={`Delete network ${name}?`}
      name={name}
    >
      <p className="flat">No instance may have a nic on it.</p>
    </Confirmed>
  );
}
