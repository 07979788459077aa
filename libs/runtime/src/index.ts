export * from './runtime.js';
export * from './stopwatch.js';
export * from './simulated.js';
export * from './terminal-pipe.js';
