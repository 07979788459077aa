import { useQuery } from '@tanstack/react-query';
import { useMemo } from 'react';
import { instanceMetricsQuery } from '../api/queries.js';
import { bytes, cpus, millis, rate } from '../parts/format.js';
import { Graph, type Series } from '../parts/graph.js';
import { Failure, Waiting } from '../parts/notices.js';

const perSecond = (n: number): string => `${bytes(n)}/s`;

/** Not every runtime tells everything: what was never told has no graph. */
const told = (series: readonly Series[]): boolean => series.some((s) => s.points.some((p) => p !== null));

/** As its guest sees it; what its host gave it stands beside. */
const guestMemory = (points: Series['points']): Series => ({ label: 'used in the guest', points });

/** The last hour of an instance. */
export function InstanceMetrics({ project, name }: { project: string; name: string }) {
  const { data, error } = useQuery(instanceMetricsQuery(project, name));
  const series = useMemo(
    () =>
      data && {
        cpu: [{ label: 'cpu', points: data.cpuMillis }],
        memory: told([guestMemory(data.guestMemoryBytes)])
          ? [{ label: 'of the host', points: data.memoryBytes }, guestMemory(data.guestMemoryBytes)]
          : [{ label: 'memory', points: data.memoryBytes }],
        network: [
          { label: 'in', points: data.networkReceiveBytesPerSecond },
          { label: 'out', points: data.networkTransmitBytesPerSecond },
        ],
        disk: [
          { label: 'read', points: data.blockReadBytesPerSecond },
          { label: 'written', points: data.blockWriteBytesPerSecond },
        ],
        operations: [
          { label: 'reads', points: data.blockReadOperationsPerSecond },
          { label: 'writes', points: data.blockWriteOperationsPerSecond },
          { label: 'flushes', points: data.blockFlushesPerSecond },
        ],
        latency: [
          { label: 'read', points: data.blockReadMillis },
          { label: 'write', points: data.blockWriteMillis },
          { label: 'flush', points: data.blockFlushMillis },
        ],
        packets: [
          { label: 'in', points: data.networkReceivePacketsPerSecond },
          { label: 'out', points: data.networkTransmitPacketsPerSecond },
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
      {told(series.packets) && (
        <Graph title="Packets" times={data.times} series={series.packets} show={rate} />
      )}
      <Graph title="Disk" times={data.times} series={series.disk} show={perSecond} binary />
      {told(series.operations) && (
        <>
          <Graph title="Disk operations" times={data.times} series={series.operations} show={rate} />
          <Graph title="Time of a disk operation" times={data.times} series={series.latency} show={millis} />
        </>
      )}
    </div>
  );
}
