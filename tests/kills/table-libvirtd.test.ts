import { rowsOf } from './plan.js';
import { killTable } from './table.js';

// libvirtd and the workloads of the other runtimes are on different hosts, so they die in the same rounds; as do machines of
// libvirt and monitors of containers.
killTable(
  'libvirtd',
  [...rowsOf('libvirtd'), ...rowsOf('workload').filter((row) => row.runtime !== 'libvirt')],
  [...rowsOf('workload').filter((row) => row.runtime === 'libvirt'), ...rowsOf('conmon')],
);
