import { cidrEncode, ipv4Encode, ipv6Encode } from '@berth/linux';
import { cidrHolds6, ipv6Number, ipv6Text, NetworkCidr6 } from '@berth/model';
import { NetworkError } from './network-error.js';

/** An IPv4 subnet; numbers are addresses in host order. */
export interface Subnet {
  readonly network: string;
  readonly netmask: string;
  readonly prefix: number;
  readonly first: number;
  readonly last: number;
}

/** Parses a network in CIDR notation, 8 to 30 bits, with no host bits set. @throws NetworkError badSpec. */
export function subnetParse(cidr: string): Subnet {
  const { address, prefix } = guard(() => cidrEncode(cidr));
  const first = address.readUInt32BE();
  const size = 2 ** (32 - prefix);
  if (prefix < 8 || prefix > 30 || first % size !== 0) {
    throw badSpec(`not a subnet of 8 to 30 bits without host bits: ${JSON.stringify(cidr)}`);
  }
  return {
    network: addressText(first),
    netmask: addressText(2 ** 32 - size),
    prefix,
    first,
    last: first + size - 1,
  };
}

/** The number of an address. @throws NetworkError badSpec. */
export function addressParse(address: string): number {
  return guard(() => ipv4Encode(address)).readUInt32BE();
}

export function addressText(address: number): string {
  return [24, 16, 8, 0].map((shift) => Math.floor(address / 2 ** shift) % 256).join('.');
}

/** Whether a host may have this address: inside, and neither the network's nor the broadcast address. */
export function subnetHolds(subnet: Subnet, address: string): boolean {
  const number = addressParse(address);
  return number > subnet.first && number < subnet.last;
}

/** An IPv6 prefix. */
export interface Subnet6 {
  /** `fd00:1::` */
  readonly network: string;
  readonly prefix: number;
}

/** Parses a network in CIDR notation, 64 to 112 bits, with no host bits set. @throws NetworkError badSpec. */
export function subnet6Parse(cidr: string): Subnet6 {
  if (!NetworkCidr6.safeParse(cidr).success)
    throw badSpec(`not an IPv6 network of 64 to 112 bits without host bits: ${JSON.stringify(cidr)}`);
  const [network = '', prefix = ''] = cidr.split('/');
  return { network: address6Text(network), prefix: Number(prefix) };
}

/** The canonical text of an address. @throws NetworkError badSpec. */
export function address6Text(address: string): string {
  guard(() => ipv6Encode(address));
  return ipv6Text(ipv6Number(address));
}

/** Whether a host may have this address: inside, and not that of every router. @throws NetworkError badSpec. */
export function subnet6Holds(subnet: Subnet6, address: string): boolean {
  const text = address6Text(address);
  return text !== subnet.network && cidrHolds6(`${subnet.network}/${subnet.prefix}`, text);
}

export function badSpec(message: string, cause?: unknown): NetworkError {
  return new NetworkError('badSpec', message, 'correct the network in the control plane', cause);
}

function guard<T>(parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    throw badSpec(error instanceof Error ? error.message : String(error), error);
  }
}
