import { rowsOf } from './plan.js';
import { killTable } from './table.js';

killTable('postgres', rowsOf('postgres'));
