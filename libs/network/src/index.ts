export * from './host-network.js';
export * from './network-error.js';
export { BRIDGE_PREFIX, networkDomain, type NicIdentity, type NicOwner } from './network-names.js';
