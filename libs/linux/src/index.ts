export * from './errno.js';
export * from './names-in.js';
export * from './run.js';
export * from './atomic-file.js';
export * from './process-identity.js';
export * from './process-table.js';
export * from './mountinfo.js';
export * from './mounts.js';
export * from './kept-values.js';
export * from './file-owner.js';
export * from './openat2.js';
export * from './user-namespace.js';
export * from './netns.js';
export { Netlink, type LinkChange, type RouteOptions, type VethOptions } from './netlink.js';
export type { QueueInfo, Side, TokenBucket } from './netlink-traffic.js';
export type { AddressInfo, LinkInfo, RouteInfo } from './netlink-route.js';
export {
  cidrEncode,
  ifnameCheck,
  ipv4Encode,
  ipv6Encode,
  type IpVersion,
  macEncode,
} from './netlink-codec.js';
export { listeningPorts, portsIn } from './listening-ports.js';
export * from './device-node.js';
export * from './loop-device.js';
export * from './tap.js';
export { listRead, nodeHugePages, numaNodes, type NumaNode, setAffinity } from './numa.js';
export * from './vsock.js';
export * from './send-descriptor.js';
export * from './privileges.js';
export { type CgroupMode, cgroupMounts, detectCgroups } from './cgroup-mounts.js';
export * from './cgroups.js';
export {
  type BlockDevice,
  type IoLimits,
  diskHeedsWeights,
  disksHolding,
  ioBring,
  ioWeigh,
} from './cgroup-io.js';
export * from './machine-usage.js';
export * from './clock.js';
export * from './pty.js';
export * from './fifo.js';
export * from './packet-socket.js';
export * from './xattr.js';
