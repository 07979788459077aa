import { useQuery } from '@tanstack/react-query';
import { Link } from '@tanstack/react-router';
import type { Host } from '../api/client.js';
import { hostsQuery } from '../api/queries.js';
import { cpus, mib } from '../parts/format.js';
import { Empty, Failure, Waiting } from '../parts/notices.js';
import { Meter, Page } from '../parts/page.js';
import { State } from '../parts/state.js';
import { Time } from '../parts/time.js';
import { isolationsOf } from './capabilities.js';

export function HostsPage() {
  const { data, error, refetch } = useQuery(hostsQuery);
  return (
    <Page title="Hosts">
      {error !== null && <Failure error={error} retry={() => void refetch()} />}
      {data === undefined && error === null && <Waiting />}
      {data?.length === 0 && (
        <Empty title="No host has joined">
          <p className="flat">
            Run <code>./berth host join</code> for a join token, and start an agent with it.{' '}
            <code>./berth up</code> does both for this machine.
          </p>
        </Empty>
      )}
      <ul className="cards">
        {data?.map((h) => (
          <HostCard key={h.id} host={h} />
        ))}
      </ul>
    </Page>
  );
}

function HostCard({ host }: { host: Host }) {
  const { capacity, used } = host;
  return (
    <li className="panel">
      <header className="panel-head">
        <h2>
          <Link to="/hosts/$host" params={{ host: host.name }}>
            {host.name}
          </Link>
        </h2>
        <State state={host.state} />
      </header>
      {host.reason !== null && <p className="flat">{host.reason}</p>}
      {!host.schedulable && <p className="flat remedy">Closed to new instances.</p>}
      {capacity !== null && (
        <>
          <Meter label="Processors" used={used.cpuMillis} total={capacity.cpuMillis} show={cpus} />
          <Meter label="Memory" used={used.memoryMiB} total={capacity.memoryMiB} show={mib} />
          <Meter label="Disk" used={used.diskMiB} total={capacity.diskMiB} show={mib} />
        </>
      )}
      <p className="flat chips">
        {isolationsOf(host).map((i) => (
          <span className={i.ok ? 'chip' : 'chip chip-off'} key={i.isolation} title={i.reason}>
            {i.ok ? '' : 'no '}
            {i.isolation}
          </span>
        ))}
        <span className="dim small">
          seen <Time at={host.lastSeenAt} />
        </span>
      </p>
    </li>
  );
}
