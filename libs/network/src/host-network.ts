import type { HostNetworkSpec, InstanceId, NetworkId, NicId } from '@berth/model';

/** The incarnation a nic belongs to. */
export interface NicOwner {
  readonly instanceId: InstanceId;
  readonly epoch: number;
}

/** A nic whose MAC and address the control plane gave. `ipv4` is a bare address. */
export interface AttachedNicSpec {
  readonly id: NicId;
  readonly networkId: NetworkId;
  readonly mac: string;
  readonly ipv4: string;
}

export interface NicInventoryEntry extends NicOwner {
  readonly nicId: NicId;
  readonly networkId: NetworkId;
  /** Name of the link on the host. */
  readonly ifname: string;
}

export interface HostNetworkOptions {
  /** Kept over reboots: what each network's leases are. */
  readonly stateDir: string;
  /** Gone at a reboot; DNS and DHCP files. Every folder above it must let other users pass (mode o+x). */
  readonly runDir: string;
  /** MTU of bridges and nics. Default 1500. */
  readonly mtu?: number;
}

export interface HostNetworkPort {
  ensure(spec: HostNetworkSpec): Promise<{ readonly bridge: string }>;
  attachTap(
    owner: NicOwner,
    nic: AttachedNicSpec,
    access: { readonly uid: number; readonly gid?: number },
  ): Promise<{ readonly ifname: string }>;
  attachVeth(
    owner: NicOwner,
    nic: AttachedNicSpec,
    target: { readonly netns: string; readonly ifname: string },
  ): Promise<{ readonly ifname: string }>;
  detach(owner: NicOwner): Promise<void>;
  release(networkId: NetworkId): Promise<{ readonly released: boolean }>;
  inventory(): Promise<NicInventoryEntry[]>;
  networks(): Promise<{ readonly networkId: NetworkId; readonly bridge: string }[]>;
  /** What a container writes to its resolv.conf. Null before `ensure`. */
  resolver(networkId: NetworkId): Promise<{ readonly nameserver: string; readonly search: string } | null>;
}
