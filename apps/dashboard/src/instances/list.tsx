import { troublesOf } from '@berth/model';
import { Button } from '@mantine/core';
import { useInfiniteQuery, useQuery } from '@tanstack/react-query';
import { Link, useNavigate, useParams, useSearch } from '@tanstack/react-router';
import { useEffect, useState } from 'react';
import type { Instance } from '../api/client.js';
import { hostsQuery, instancesQuery } from '../api/queries.js';
import { covers, sessionQuery } from '../api/session.js';
import { ActionsHead } from '../parts/actions-head.js';
import { cpus, mib } from '../parts/format.js';
import { Empty, Failure, Waiting } from '../parts/notices.js';
import { Page } from '../parts/page.js';
import { State } from '../parts/state.js';
import { Time } from '../parts/time.js';
import { Actions } from './actions.js';
import { CreateLink } from './create-link.js';
import { cpuMillisOf } from './size.js';

const states = [
  'pending',
  'running',
  'paused',
  'stopped',
  'error',
  'unknown',
  'provisioning',
  'starting',
  'stopping',
  'deleting',
];

export function InstanceList() {
  const { project } = useParams({ from: '/inside/p/$project/instances' });
  const search = useSearch({ from: '/inside/p/$project/instances' });
  const session = useQuery(sessionQuery).data;
  const list = useInfiniteQuery(instancesQuery(project, search));
  const items = list.data?.pages.flatMap((p) => p.items);
  const filtered = Object.values(search).some((v) => v !== undefined);
  const operator = covers(session, 'operator');
  return (
    <Page title="Instances" actions={operator && <CreateLink project={project} />}>
      <Filters project={project} cluster={session?.project === null} />
      {list.error !== null && <Failure error={list.error} retry={() => void list.refetch()} />}
      {items === undefined && list.error === null && <Waiting />}
      {items?.length === 0 && !filtered && (
        <Empty title="No instances yet">
          <p className="flat">
            Create a container or microVM from an OCI image, or a virtual machine from a disk image.
          </p>
          {operator && <CreateLink project={project} />}
        </Empty>
      )}
      {items?.length === 0 && filtered && (
        <Empty title="No instance fits these filters">
          <Link to="/p/$project/instances" params={{ project }}>
            Show all
          </Link>
        </Empty>
      )}
      {items !== undefined && items.length > 0 && <Table items={items} operator={operator} />}
      {list.hasNextPage && (
        <Button
          variant="default"
          size="xs"
          mt="sm"
          loading={list.isFetchingNextPage}
          onClick={() => void list.fetchNextPage()}
        >
          Show more
        </Button>
      )}
    </Page>
  );
}

function Filters({ project, cluster }: { project: string; cluster: boolean }) {
  const search = useSearch({ from: '/inside/p/$project/instances' });
  const navigate = useNavigate();
  const hosts = useQuery({ ...hostsQuery, enabled: cluster });
  const change = (field: keyof typeof search, value: string): void =>
    void navigate({
      to: '/p/$project/instances',
      params: { project },
      search: { ...search, [field]: value === '' ? undefined : value },
      replace: true,
    });
  const select = (label: string, field: 'state' | 'isolation' | 'host', options: readonly string[]) => (
    <select
      aria-label={label}
      value={search[field] ?? ''}
      onChange={(e) => change(field, e.currentTarget.value)}
    >
      <option value="">{label}: all</option>
      {options.map((o) => (
        <option key={o}>{o}</option>
      ))}
    </select>
  );
  return (
    <div className="filters" role="search">
      <Typed
        label="Name"
        placeholder="part of a name"
        value={search.search ?? ''}
        allow={/^[-a-z0-9]{0,63}$/}
        change={(v) => change('search', v)}
      />
      {select('State', 'state', states)}
      {select('Isolation', 'isolation', ['container', 'vm', 'microvm'])}
      {cluster &&
        select(
          'Host',
          'host',
          (hosts.data ?? []).map((h) => h.name),
        )}
      <Typed
        label="Labels"
        placeholder="tier=web,zone=a"
        value={search.selector ?? ''}
        allow={/^$|^[a-z0-9][-a-z0-9._/]*=[-A-Za-z0-9._]*(,[a-z0-9][-a-z0-9._/]*=[-A-Za-z0-9._]*)*$/}
        change={(v) => change('selector', v)}
      />
    </div>
  );
}

/** A filter that is typed: asked for when the typing pauses and makes sense. */
function Typed({
  label,
  placeholder,
  value,
  allow,
  change,
}: {
  label: string;
  placeholder: string;
  value: string;
  allow: RegExp;
  change: (value: string) => void;
}) {
  const [text, setText] = useState(value);
  useEffect(() => setText(value), [value]);
  const sensible = allow.test(text);
  useEffect(() => {
    if (text === value || !sensible) return;
    const timer = window.setTimeout(() => change(text), 250);
    return () => clearTimeout(timer);
  });
  return (
    <input
      type="search"
      aria-label={label}
      placeholder={`${label}: ${placeholder}`}
      aria-invalid={!sensible}
      value={text}
      onChange={(e) => setText(e.currentTarget.value)}
      spellCheck={false}
      autoComplete="off"
    />
  );
}

function Table({ items, operator }: { items: readonly Instance[]; operator: boolean }) {
  return (
    <table className="list">
      <thead>
        <tr>
          <th scope="col">Name</th>
          <th scope="col">State</th>
          <th scope="col" className="from-m">
            Isolation
          </th>
          <th scope="col" className="from-m">
            Image
          </th>
          <th scope="col" className="from-s">
            Host
          </th>
          <th scope="col" className="from-l">
            Address
          </th>
          <th scope="col" className="from-l num">
            Size
          </th>
          <th scope="col" className="from-m">
            Created
          </th>
          {operator && <ActionsHead />}
        </tr>
      </thead>
      <tbody>
        {items.map((i) => (
          <tr key={i.id}>
            <td className="main-cell">
              <Link to="/p/$project/instances/$name" params={{ project: i.project, name: i.name }}>
                {i.name}
              </Link>
              {i.status.reason !== null && i.status.reason !== i.status.state && (
                <p className="reason" title={i.status.reason}>
                  {i.status.reason}
                </p>
              )}
            </td>
            <td>
              <State state={i.status.state} />
              {troublesOf(i.status.conditions).map((c) => (
                <span className="chip" key={c.type} title={c.message}>
                  {c.type}
                </span>
              ))}
            </td>
            <td className="from-m">{i.spec.isolation}</td>
            <td className="from-m">{i.spec.image}</td>
            <td className="from-s">{i.status.host?.name ?? <span className="dim">none</span>}</td>
            <td className="from-l mono">{i.status.nics[0]?.ipv4 ?? ''}</td>
            <td className="from-l num">
              {cpus(cpuMillisOf(i.spec))}, {mib(i.spec.memoryMiB)}
            </td>
            <td className="from-m dim nowrap">
              <Time at={i.createdAt} />
            </td>
            {operator && (
              <td className="actions-cell">
                <Actions instance={i} small />
              </td>
            )}
          </tr>
        ))}
      </tbody>
    </table>
  );
}
