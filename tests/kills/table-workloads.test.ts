import { rowsOf } from './plan.js';
import { killTable } from './table.js';

// Machines of libvirt and monitors of containers are on different hosts, so they die in the same rounds.
killTable('workloads', [
  ...rowsOf('workload').filter((row) => row.runtime === 'libvirt'),
  ...rowsOf('conmon'),
]);
