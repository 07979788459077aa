import { useQuery } from '@tanstack/react-query';
import { useParams } from '@tanstack/react-router';
import { networksQuery } from '../api/queries.js';
import { Empty, Failure, Waiting } from '../parts/notices.js';
import { Page } from '../parts/page.js';
import { Time } from '../parts/time.js';

const scopes: Readonly<Record<string, string>> = {
  host: 'each host its own bridge',
  cluster: 'one over all hosts',
};

export function NetworksPage() {
  const { project } = useParams({ from: '/inside/p/$project/networks' });
  const { data, error, refetch } = useQuery(networksQuery(project));
  return (
    <Page title="Networks">
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
              <th scope="col" className="from-m">
                Scope
              </th>
              <th scope="col" className="from-m">
                Created
              </th>
            </tr>
          </thead>
          <tbody>
            {data.map((n) => (
              <tr key={n.id}>
                <td>{n.name}</td>
                <td className="mono">{n.cidr}</td>
                <td className="from-s mono">{n.gateway}</td>
                <td className="from-m">
                  {n.scope}: {scopes[n.scope]}
                </td>
                <td className="from-m dim">
                  <Time at={n.createdAt} />
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
    </Page>
  );
}
