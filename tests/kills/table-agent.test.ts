import { rowsOf } from './plan.js';
import { killTable } from './table.js';

killTable('agent', rowsOf('agent'));
