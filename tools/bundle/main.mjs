import { program, traceSources } from './load.js';

traceSources();
program({ cached: true }).start();
