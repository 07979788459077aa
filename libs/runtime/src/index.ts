export { KeyedLock } from './keyed-lock.js';
export * from './runtime.js';
export * from './stopwatch.js';
export { HeldParts } from './held-parts.js';
export { SimulatedHost } from './simulated-host.js';
export * from './simulated.js';
export * from './terminal-pipe.js';
