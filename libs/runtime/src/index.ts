export * from './runtime.js';
export * from './simulated.js';
