import { useQuery } from '@tanstack/react-query';
import { useMemo } from 'react';
import { hostMetricsQuery } from '../api/queries.js';
import { bytes, cpus } from '../parts/format.js';
import { Graph } from '../parts/graph.js';
import { Failure, Waiting } from '../parts/notices.js';

/** The last hour of a host. */
export function HostMetrics({ host }: { host: string }) {
  const { data, error } = useQuery(hostMetricsQuery(host));
  const series = useMemo(
    () =>
      data && {
        cpu: [{ label: 'cpu', points: data.cpuMillis }],
        memory: [{ label: 'memory', points: data.memoryBytes }],
        disk: [{ label: 'disk', points: data.diskBytes }],
      },
    [data],
  );
  if (error !== null) return <Failure error={error} />;
  if (data === undefined || series === undefined) return <Waiting rows={4} />;
  return (
    <div className="graphs">
      <Graph title="Processor" times={data.times} series={series.cpu} show={cpus} />
      <Graph title="Memory" times={data.times} series={series.memory} show={bytes} binary />
      <Graph title="Disk" times={data.times} series={series.disk} show={bytes} binary />
    </div>
  );
}
