export * from './ids.js';
export * from './instance.js';
export * from './state.js';
export * from './errors.js';
export * from './host.js';
export * from './image.js';
export * from './network.js';
export * from './operation.js';
