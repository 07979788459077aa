export * from './host-network.js';
export { ipv6Missing } from './ipv6-host.js';
export * from './network-error.js';
export { BRIDGE_PREFIX, networkDomain, type NicIdentity, type NicOwner } from './network-names.js';
