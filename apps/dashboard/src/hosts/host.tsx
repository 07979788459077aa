import { Button } from '@mantine/core';
import { answer } from '@berth/client';
import { clockTrouble } from '@berth/model';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { Link, useParams } from '@tanstack/react-router';
import { lazy, Suspense } from 'react';
import { api, type Host } from '../api/client.js';
import { hostsQuery } from '../api/queries.js';
import { covers, sessionQuery } from '../api/session.js';
import { cpus, mib } from '../parts/format.js';
import { Empty, Failure, Waiting } from '../parts/notices.js';
import { Facts, Meter, Page, Panel } from '../parts/page.js';
import { State } from '../parts/state.js';
import { Time } from '../parts/time.js';
import { isolationsOf } from './capabilities.js';

const HostMetrics = lazy(() => import('./metrics.js').then((m) => ({ default: m.HostMetrics })));

export function HostPage() {
  const name = useParams({ from: '/inside/hosts/$host' }).host;
  const session = useQuery(sessionQuery).data;
  const { data, error, refetch } = useQuery(hostsQuery);
  const host = data?.find((h) => h.name === name);
  return (
    <Page
      title={name}
      beside={host && <State state={host.state} />}
      actions={host && covers(session, 'admin') && <Cordon host={host} />}
    >
      {error !== null && <Failure error={error} retry={() => void refetch()} />}
      {data === undefined && error === null && <Waiting />}
      {data !== undefined && host === undefined && (
        <Empty title={`There is no host ${name}`}>
          <Link to="/hosts">All hosts</Link>
        </Empty>
      )}
      {host !== undefined && <Details host={host} />}
    </Page>
  );
}

function Details({ host }: { host: Host }) {
  const { capabilities: can, capacity, used } = host;
  return (
    <div className="grid">
      {(host.reason !== null || !host.schedulable) && (
        <Panel title="Needs attention" className="wide-panel notice">
          {host.reason !== null && <p className="flat">{host.reason}</p>}
          {!host.schedulable && (
            <p className="flat remedy">It is closed to new instances; what it runs stays.</p>
          )}
        </Panel>
      )}
      <Panel title="Booked">
        {capacity === null ? (
          <p className="flat dim">It has not said yet what it has.</p>
        ) : (
          <>
            <Meter label="Processors" used={used.cpuMillis} total={capacity.cpuMillis} show={cpus} />
            <Meter label="Memory" used={used.memoryMiB} total={capacity.memoryMiB} show={mib} />
            <Meter label="Disk" used={used.diskMiB} total={capacity.diskMiB} show={mib} />
          </>
        )}
      </Panel>
      <Panel title="What it can run">
        <ul className="troubles">
          {isolationsOf(host).map((i) => (
            <li key={i.isolation}>
              <State state={i.isolation} tone={i.ok ? 'good' : 'off'} />
              <div>{i.ok ? `by ${i.drivers.join(', ')}` : i.reason}</div>
            </li>
          ))}
          {can !== null && (
            <li>
              <State state="KVM" tone={can.accel.kvm.verdict === 'usable' ? 'good' : 'off'} />
              <div>
                {can.accel.kvm.verdict}: {can.accel.kvm.reason}
              </div>
            </li>
          )}
        </ul>
      </Panel>
      <Panel title="Last hour" className="wide-panel">
        <Suspense fallback={<Waiting rows={4} />}>
          <HostMetrics host={host.name} />
        </Suspense>
      </Panel>
      <Panel title="Machine" className="wide-panel">
        <Facts
          facts={[
            [
              'Labels',
              Object.entries(host.labels).map(([k, v]) => (
                <span className="chip" key={k}>
                  {k}={v}
                </span>
              )),
            ],
            ['Seen', <Time key="s" at={host.lastSeenAt} />],
            [
              'Clock',
              clockTrouble(host)?.message ?? (host.clockAheadMs === null ? 'not compared yet' : 'right'),
            ],
            [
              'Boot',
              <span key="b" className="mono">
                {host.bootId ?? ''}
              </span>,
            ],
            ...(can === null
              ? []
              : ([
                  ['Processor', `${can.cpus} × ${can.cpu.model} (${can.arch})`],
                  ['Virtualisation', virtualisationOf(can.cpu)],
                  [
                    'Boundary between tenants',
                    can.tenantBoundary ? 'hardware virtualisation' : 'none: machines are emulated here',
                  ],
                  [
                    'NUMA nodes',
                    (can.numa ?? []).map((n) => (
                      <span className="chip" key={n.id}>
                        {n.id}: {n.cpus.length} processors, {mib(n.memoryMiB)}
                      </span>
                    )),
                  ],
                  [
                    'Lends to containers',
                    (can.devices ?? []).map((d) => (
                      <span className="chip" key={d}>
                        {d}
                      </span>
                    )),
                  ],
                  [
                    'Lets containers mount',
                    (can.hostPaths ?? []).map(({ name, readOnly, projects }) => (
                      <span className="chip" key={name} title={projects?.join(', ')}>
                        {name}
                        {readOnly ? '' : ', to write'}
                      </span>
                    )),
                  ],
                  ['Kernel', `${can.kernel}, cgroup ${can.cgroup}`],
                  [
                    'Abilities',
                    can.facets.map((f) => (
                      <span className="chip" key={f}>
                        {f}
                      </span>
                    )),
                  ],
                  [
                    'Versions',
                    Object.entries(can.versions).map(([k, v]) => (
                      <span className="chip" key={k}>
                        {k} {v}
                      </span>
                    )),
                  ],
                ] as const)),
          ]}
        />
      </Panel>
    </div>
  );
}

type Cpu = NonNullable<Host['capabilities']>['cpu'];
const virtualisationOf = ({ virtualisation, secondLevelPaging, nested }: Cpu): string =>
  virtualisation === 'none'
    ? 'none'
    : `${virtualisation}, second-level paging ${secondLevelPaging}${nested ? ', nested' : ''}`;

/** Opens or closes a host to new instances; shown at once, and taken back when the API refuses. */
function Cordon({ host }: { host: Host }) {
  const client = useQueryClient();
  const schedulable = !host.schedulable;
  const show = (value: boolean): void =>
    void client.setQueryData(hostsQuery.queryKey, (old) =>
      old?.map((h) => (h.id === host.id ? { ...h, schedulable: value } : h)),
    );
  const change = useMutation({
    mutationFn: () =>
      answer(
        api.rest.PATCH('/v1/hosts/{host}', { params: { path: { host: host.name } }, body: { schedulable } }),
      ),
    onMutate: () => show(schedulable),
    onError: () => show(!schedulable),
  });
  return (
    <>
      <Button size="xs" variant="default" onClick={() => change.mutate()} disabled={change.isPending}>
        {host.schedulable ? 'Close to new instances' : 'Open to new instances'}
      </Button>
      {change.isError && <Failure error={change.error} />}
    </>
  );
}
