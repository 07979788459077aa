import { useQuery } from '@tanstack/react-query';
import { Link, useParams } from '@tanstack/react-router';
import { volumesQuery } from '../api/queries.js';
import { mib } from '../parts/format.js';
import { Empty, Failure, Waiting } from '../parts/notices.js';
import { Page } from '../parts/page.js';
import { Time } from '../parts/time.js';

const kinds: Readonly<Record<string, string>> = {
  rootDisk: 'root disk',
  writableLayer: 'writable layer',
  data: 'data',
};

export function VolumesPage() {
  const { project } = useParams({ from: '/inside/p/$project/volumes' });
  const { data, error, refetch } = useQuery(volumesQuery(project));
  return (
    <Page title="Volumes">
      {error !== null && <Failure error={error} retry={() => void refetch()} />}
      {data === undefined && error === null && <Waiting />}
      {data?.length === 0 && (
        <Empty title="No volumes">
          <p className="flat">Each instance brings its root disk or writable layer.</p>
        </Empty>
      )}
      {data !== undefined && data.length > 0 && (
        <table className="list">
          <thead>
            <tr>
              <th scope="col">Instance</th>
              <th scope="col">Kind</th>
              <th scope="col" className="num">
                Size
              </th>
              <th scope="col" className="from-s">
                Host
              </th>
              <th scope="col" className="from-m">
                Pool
              </th>
              <th scope="col" className="from-l">
                Id
              </th>
              <th scope="col" className="from-m">
                Created
              </th>
            </tr>
          </thead>
          <tbody>
            {data.map((v) => (
              <tr key={v.id}>
                <td>
                  {v.owner === null ? (
                    <span className="dim">none</span>
                  ) : (
                    <Link to="/p/$project/instances/$name" params={{ project, name: v.owner.instance }}>
                      {v.owner.instance}
                    </Link>
                  )}
                </td>
                <td>
                  {kinds[v.kind] ?? v.kind}, {v.format}
                </td>
                <td className="num nowrap">{mib(v.sizeMiB)}</td>
                <td className="from-s">{v.host?.name ?? <span className="dim">none yet</span>}</td>
                <td className="from-m">{v.pool}</td>
                <td className="from-l mono dim">{v.id}</td>
                <td className="from-m dim">
                  <Time at={v.createdAt} />
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
    </Page>
  );
}
