import { Checkbox, Textarea } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { Link } from '@tanstack/react-router';
import type { ReactNode } from 'react';
import { hostsQuery } from '../api/queries.js';
import { sessionQuery } from '../api/session.js';
import { Check, Folded, Num, Text, type Form } from './fields.js';
import { listOf } from './typed.js';

/* Parts of the form that OCI images have, folded until somebody wants them. */

/** In few words how many of some fields are filled in. */
export const filled = (values: readonly (string | boolean)[]): string => {
  const count = values.filter((v) => v !== '' && v !== false).length;
  return count === 0 ? '' : `${count} set`;
};

/** Share and bounds of a container, beside what it books. */
export function Resources({ form }: { form: Form }) {
  const { draft } = form;
  const at = '/spec/resources';
  return (
    <Folded
      title="Share and limits"
      chosen={filled([
        ...[draft.pids, draft.cpuWeight, draft.cpus, draft.memoryHighMiB, draft.swapMiB, draft.ioWeight],
        ...[draft.readMiBPerSecond, draft.writeMiBPerSecond],
        ...[draft.readOperationsPerSecond, draft.writeOperationsPerSecond],
      ])}
      wrong={form.error(at) !== undefined}
    >
      <p className="flat dim">
        What keeps it from being felt by its neighbours. Nothing here is booked, and all of it can change
        while it runs.
      </p>
      <div className="fields">
        <Num form={form} of="pids" label="Processes at most" at={`${at}/pids`} placeholder="4096" />
        <Num
          form={form}
          of="cpuWeight"
          label="Processor weight"
          at={`${at}/cpuWeight`}
          placeholder="as its thousandths; 100 without"
        />
        <Text
          form={form}
          of="cpus"
          label="On processors"
          at={`${at}/cpus`}
          placeholder="all; or 0-3,8"
          className="mono-input"
        />
        <Num
          form={form}
          of="memoryHighMiB"
          label="Slowed down above, MiB of memory"
          at={`${at}/memoryHighMiB`}
          placeholder="never; needs cgroup v2"
        />
        <Num form={form} of="swapMiB" label="Swap, MiB" at={`${at}/swapMiB`} placeholder="0" />
        <Num
          form={form}
          of="ioWeight"
          label="Disk weight, 10 to 1000"
          at={`${at}/io/weight`}
          placeholder="100"
        />
        <Num
          form={form}
          of="readMiBPerSecond"
          label="Disk reads, MiB/s"
          at={`${at}/io/readMiBPerSecond`}
          placeholder="no limit"
        />
        <Num
          form={form}
          of="writeMiBPerSecond"
          label="Disk writes, MiB/s"
          at={`${at}/io/writeMiBPerSecond`}
          placeholder="no limit"
        />
        <Num
          form={form}
          of="readOperationsPerSecond"
          label="Disk reads, operations/s"
          at={`${at}/io/readOperationsPerSecond`}
          placeholder="no limit"
        />
        <Num
          form={form}
          of="writeOperationsPerSecond"
          label="Disk writes, operations/s"
          at={`${at}/io/writeOperationsPerSecond`}
          placeholder="no limit"
        />
      </div>
    </Folded>
  );
}

/** What a container is given of its host, and what is taken from it. */
export function Isolating({ form }: { form: Form }) {
  const { draft, error } = form;
  const flags = [draft.system, draft.readOnlyRoot, draft.nesting, draft.init];
  const chosen = [filled(flags), listOf(draft.devices).join(', ')].filter((one) => one !== '').join(', ');
  const wrong = ['/spec/security', '/spec/system', '/spec/devices', '/spec/process/init'];
  return (
    <Folded
      title="System, isolation and devices"
      chosen={chosen}
      wrong={wrong.some((one) => error(one) !== undefined)}
    >
      <div className="fields">
        <Check
          form={form}
          of="system"
          label="System container"
          at="/spec/system"
          description="Its image has an init, as systemd: services, people who sign in, a clean shutdown"
        />
        <Check
          form={form}
          of="init"
          label="A small init beside its program"
          at="/spec/process/init"
          description="For a program that does not reap orphans or heed signals as first process"
        />
        <Check
          form={form}
          of="readOnlyRoot"
          label="Read-only root"
          at="/spec/security/readOnlyRoot"
          description="It writes to volumes and memory only"
        />
        <Check
          form={form}
          of="nesting"
          label="Containers of its own"
          at="/spec/security/nesting"
          description="Opens the kernel's mounts and packet filters to whoever is in it"
        />
      </div>
      <Devices form={form} />
    </Folded>
  );
}

/** Of the hosts' lists for whoever may see hosts; by name for others. */
function Devices({ form }: { form: Form }) {
  const { draft, change, error } = form;
  const cluster = useQuery(sessionQuery).data?.project === null;
  const hosts = useQuery({ ...hostsQuery, enabled: cluster }).data ?? [];
  const offered = [...new Set(hosts.flatMap((h) => h.capabilities?.devices ?? []))].sort();
  if (!cluster)
    return (
      <Text
        form={form}
        of="devices"
        label="Devices of its host"
        at="/spec/devices"
        description="Names that the operator of the hosts gave, as tun"
      />
    );
  return (
    <Checkbox.Group
      label="Devices of its host"
      value={listOf(draft.devices)}
      error={error('/spec/devices')}
      onChange={(devices) => change({ devices: devices.join(' ') })}
    >
      {offered.length === 0 && (
        <p className="flat dim small">
          No host lends any: its operator names them in agent.yaml, as{' '}
          <code>devices: {'{ tun: /dev/net/tun }'}</code>
        </p>
      )}
      <div className="fields">
        {offered.map((name) => (
          <Checkbox
            key={name}
            value={name}
            label={`${name}, lent by ${hosts
              .filter((h) => h.capabilities?.devices?.includes(name))
              .map((h) => h.name)
              .join(', ')}`}
          />
        ))}
      </div>
    </Checkbox.Group>
  );
}

/** How names are found in it. */
export function Names({ form }: { form: Form }) {
  const { draft, change, error } = form;
  return (
    <Folded
      title="Names (DNS)"
      chosen={
        filled([draft.dnsServers, draft.dnsSearch, draft.dnsOptions, draft.dnsHosts]) ||
        'as its network has it'
      }
      wrong={error('/spec/dns') !== undefined}
    >
      <div className="fields">
        <Text
          form={form}
          of="dnsServers"
          label="Servers"
          at="/spec/dns/servers"
          placeholder="its network's, which knows instances"
        />
        <Text
          form={form}
          of="dnsSearch"
          label="Search domains"
          at="/spec/dns/search"
          placeholder="its network's"
        />
        <Text form={form} of="dnsOptions" label="Options" at="/spec/dns/options" placeholder="ndots:2" />
        <Textarea
          label="Lines of /etc/hosts"
          className="mono-input"
          placeholder={'10.9.8.7 db db.example.net'}
          rows={2}
          value={draft.dnsHosts}
          error={error('/spec/dns/hosts')}
          onChange={(e) => change({ dnsHosts: e.currentTarget.value })}
        />
      </div>
    </Folded>
  );
}

/** Said where the project has none of what could be chosen. */
export function NoneYet({
  project,
  to,
  children,
}: {
  project: string;
  to: '/p/$project/secrets' | '/p/$project/volumes';
  children: ReactNode;
}) {
  return (
    <p className="flat dim">
      {children}{' '}
      <Link to={to} params={{ project }}>
        Make one
      </Link>
    </p>
  );
}
