export * from './host-network.js';
