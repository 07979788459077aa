import { Button } from '@mantine/core';
import { useInfiniteQuery } from '@tanstack/react-query';
import { Link, useNavigate, useParams, useSearch } from '@tanstack/react-router';
import type { Operation } from '../api/client.js';
import { operationsQuery } from '../api/queries.js';
import { span } from '../parts/format.js';
import { Empty, Failure, Waiting } from '../parts/notices.js';
import { Page } from '../parts/page.js';
import { State, toneOf } from '../parts/state.js';
import { Time, useNow } from '../parts/time.js';

const route = '/inside/p/$project/operations';
const states = ['running', 'succeeded', 'failed', 'cancelled', 'superseded'];

export function OperationsPage() {
  const { project } = useParams({ from: route });
  const { state } = useSearch({ from: route });
  const navigate = useNavigate();
  const list = useInfiniteQuery(operationsQuery(project, state));
  const items = list.data?.pages.flatMap((p) => p.items);
  return (
    <Page title="Operations">
      <div className="filters" role="search">
        <select
          aria-label="State"
          value={state ?? ''}
          onChange={(e) =>
            void navigate({
              to: '/p/$project/operations',
              params: { project },
              search: { state: e.currentTarget.value === '' ? undefined : e.currentTarget.value },
              replace: true,
            })
          }
        >
          <option value="">State: all</option>
          {states.map((s) => (
            <option key={s}>{s}</option>
          ))}
        </select>
      </div>
      {list.error !== null && <Failure error={list.error} retry={() => void list.refetch()} />}
      {items === undefined && list.error === null && <Waiting />}
      {items?.length === 0 && (
        <Empty title="No operations">
          <p className="flat">Every change of an instance or image is one, and is kept.</p>
        </Empty>
      )}
      {items !== undefined && items.length > 0 && (
        <table className="list">
          <thead>
            <tr>
              <th scope="col">Operation</th>
              <th scope="col">State</th>
              <th scope="col" className="from-m">
                Steps
              </th>
              <th scope="col" className="from-m">
                Who
              </th>
              <th scope="col">When</th>
              <th scope="col" className="from-s num">
                Took
              </th>
            </tr>
          </thead>
          <tbody>
            {items.map((o) => (
              <Row key={o.id} operation={o} />
            ))}
          </tbody>
        </table>
      )}
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

function Row({ operation: o }: { operation: Operation }) {
  const open = o.state === 'pending' || o.state === 'running';
  return (
    <tr>
      <td className="main-cell">
        {o.kind}{' '}
        {o.target.kind === 'instance' ? (
          <Link to="/p/$project/instances/$name" params={{ project: o.project, name: o.target.name }}>
            {o.target.name}
          </Link>
        ) : (
          o.target.name
        )}
        {o.error !== null && (
          <p className="reason-full">
            {o.error.message}{' '}
            {o.error.remedy !== undefined && <span className="remedy">{o.error.remedy}</span>}
          </p>
        )}
        {open && (
          <div
            className="bar"
            role="progressbar"
            aria-label={`${o.kind} ${o.target.name}`}
            aria-valuenow={o.progress}
            aria-valuemin={0}
            aria-valuemax={100}
          >
            <div style={{ width: `${Math.max(4, o.progress)}%` }} />
          </div>
        )}
      </td>
      <td>
        <State state={o.state} tone={open ? 'busy' : toneOf(o.state)} />
      </td>
      <td className="from-m dim">{o.steps.at(-1)?.name ?? ''}</td>
      <td className="from-m dim">{o.actor}</td>
      <td className="dim nowrap">
        <Time at={o.createdAt} />
      </td>
      <td className="from-s num dim nowrap">
        <Took operation={o} />
      </td>
    </tr>
  );
}

function Took({ operation: o }: { operation: Operation }) {
  const now = useNow();
  const end = o.finishedAt === null ? now : Date.parse(o.finishedAt);
  return <>{span(Math.max(0, end - Date.parse(o.createdAt)))}</>;
}
