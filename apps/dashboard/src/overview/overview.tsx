import { useInfiniteQuery, useQuery } from '@tanstack/react-query';
import { Link, useParams } from '@tanstack/react-router';
import { hostsQuery, instancesQuery, summaryQuery } from '../api/queries.js';
import { covers, sessionQuery } from '../api/session.js';
import { cpus, mib } from '../parts/format.js';
import { Empty, Failure, Waiting } from '../parts/notices.js';
import { Meter, Page, Panel } from '../parts/page.js';
import { Shape, State, toneOf } from '../parts/state.js';
import { CreateLink } from '../instances/create-link.js';
import { capacitySum, hostTrouble, instanceTrouble } from './attention.js';

export function Overview() {
  const { project } = useParams({ from: '/inside/p/$project/' });
  const session = useQuery(sessionQuery).data;
  const cluster = session?.project === null;
  return (
    <Page title="Overview" actions={covers(session, 'operator') && <CreateLink project={project} />}>
      <div className="grid">
        <States project={project} />
        {cluster && <Capacity />}
        <Attention project={project} cluster={cluster} />
      </div>
    </Page>
  );
}

function States({ project }: { project: string }) {
  const { data, error, refetch } = useQuery(summaryQuery(project));
  const total = (data ?? []).reduce((sum, c) => sum + c.count, 0);
  const states = [...new Set((data ?? []).map((c) => c.state))];
  const of = (pick: (c: { state: string; isolation: string }) => boolean): number =>
    (data ?? []).filter(pick).reduce((sum, c) => sum + c.count, 0);
  return (
    <Panel title="Instances" beside={<span className="big">{data === undefined ? '' : total}</span>}>
      {error !== null && <Failure error={error} retry={() => void refetch()} />}
      {data === undefined && error === null && <Waiting rows={3} />}
      {data !== undefined && total === 0 && (
        <Empty title="No instances yet">
          <p className="flat">A container or a virtual machine is one form away.</p>
        </Empty>
      )}
      {total > 0 && (
        <ul className="counts">
          {states.map((state) => (
            <li key={state}>
              <Link to="/p/$project/instances" params={{ project }} search={{ state }}>
                <State state={state} />
                <span className="count">{of((c) => c.state === state)}</span>
              </Link>
            </li>
          ))}
          {['container', 'microvm', 'vm'].map((isolation) => (
            <li key={isolation}>
              <Link to="/p/$project/instances" params={{ project }} search={{ isolation }}>
                <span>
                  {isolation === 'vm'
                    ? 'virtual machines'
                    : isolation === 'microvm'
                      ? 'microVMs'
                      : 'containers'}
                </span>
                <span className="count">{of((c) => c.isolation === isolation)}</span>
              </Link>
            </li>
          ))}
        </ul>
      )}
    </Panel>
  );
}

function Capacity() {
  const { data, error, refetch } = useQuery(hostsQuery);
  const sum = capacitySum(data ?? []);
  const ready = (data ?? []).filter((h) => h.state === 'ready').length;
  return (
    <Panel
      title="Capacity"
      beside={
        <Link to="/hosts" className="dim">
          {data === undefined ? '' : `${ready} of ${data.length} hosts ready`}
        </Link>
      }
    >
      {error !== null && <Failure error={error} retry={() => void refetch()} />}
      {data === undefined && error === null && <Waiting rows={3} />}
      {data !== undefined && (
        <>
          <Meter
            label="Processors booked"
            used={sum.used.cpuMillis}
            total={sum.capacity.cpuMillis}
            show={cpus}
          />
          <Meter label="Memory booked" used={sum.used.memoryMiB} total={sum.capacity.memoryMiB} show={mib} />
          <Meter label="Disk booked" used={sum.used.diskMiB} total={sum.capacity.diskMiB} show={mib} />
        </>
      )}
    </Panel>
  );
}

/** States that ask for a person; `pending` does when it has waited with a reason. */
const troubled = ['error', 'unknown', 'pending'] as const;

function Attention({ project, cluster }: { project: string; cluster: boolean }) {
  const lists = [
    useInfiniteQuery(instancesQuery(project, { state: troubled[0] })),
    useInfiniteQuery(instancesQuery(project, { state: troubled[1] })),
    useInfiniteQuery(instancesQuery(project, { state: troubled[2] })),
    useInfiniteQuery(instancesQuery(project, { state: 'running' })),
  ];
  const hosts = useQuery({ ...hostsQuery, enabled: cluster });
  const failed = lists.find((l) => l.error !== null)?.error ?? null;
  const waiting = lists.some((l) => l.data === undefined && l.error === null);
  const instances = lists.flatMap((l) => l.data?.pages.flatMap((p) => p.items) ?? []);
  const troubles = [
    ...(hosts.data ?? []).flatMap(hostTrouble),
    ...instances.flatMap((i) => instanceTrouble(i) ?? []),
  ];
  return (
    <Panel title="Needs attention" className="wide-panel">
      {failed !== null && <Failure error={failed} />}
      {waiting && <Waiting rows={2} />}
      {!waiting && failed === null && troubles.length === 0 && (
        <p className="flat calm">
          <Shape tone="good" /> Nothing does. Everything that should run runs.
        </p>
      )}
      <ul className="troubles">
        {troubles.map((t) => (
          <li key={`${t.kind} ${t.name}`}>
            <State state={t.state} tone={toneOf(t.state)} />
            <div>
              {t.kind === 'host' ? (
                <Link to="/hosts/$host" params={{ host: t.name }}>
                  {t.name}
                </Link>
              ) : (
                <Link to="/p/$project/instances/$name" params={{ project, name: t.name }}>
                  {t.name}
                </Link>
              )}
              <p className="flat">{t.message}</p>
              {t.remedy !== null && <p className="flat remedy">{t.remedy}</p>}
            </div>
          </li>
        ))}
      </ul>
    </Panel>
  );
}
