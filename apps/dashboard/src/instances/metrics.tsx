import { useQuery } from '@tanstack/react-query';
import { useMemo } from 'react';
import { instanceMetricsQuery } from '../api/queries.js';
import { bytes, cpus } from '../parts/format.js';
import { Graph } from '../parts/graph.js';
import { Failure, Waiting } from '../parts/notices.js';

const perSecond = (n: number): string => `${bytes(n)}/s`;

/** The last hour of an instance. */
export function InstanceMetrics({ project, name }: { project: string; name: string }) {
  const { data, error } = useQuery(instanceMetricsQuery(project, name));
  const series = useMemo(
    () =>
      data && {
        cpu: [{ label: 'cpu', points: data.cpuMillis }],
        memory: [{ label: 'memory', points: data.memoryBytes }],
        network: [
          { label: 'in', points: data.networkReceiveBytesPerSecond },
          { label: 'out', points: data.networkTransmitBytesPerSecond },
        ],
        disk: [
          { label: 'read', points: data.blockReadBytesPerSecond },
          { label: 'written', points: data.blockWriteBytesPerSecond },
        ],
      },
    [data],
  );
  if (error !== null) return <Failure error={error} />;
  if (data === undefined || series === undefined) return <Waiting rows={4} />;
  return (
    <div className="graphs">
      <Graph title="Processor" times={data.times} series={series.cpu} show={cpus} />
      <Graph title="Memory" times={data.times} series={series.memory} show={bytes} binary />
      <Graph title="Network" times={data.times} series={series.network} show={perSecond} binary />
      <Graph title="Disk" times={data.times} series={series.disk} show={perSecond} binary />
    </div>
  );
}
