import type { ImageContent } from '@berth/model';
import {
  identityFiles,
  processPlan,
  RuntimeError,
  signalNumber,
  stopSignal,
  type GuestIdentity,
  type WorkloadSpec,
} from '@berth/runtime';
import type { GuestField } from '../guest/guest-fields.js';

export type OciImage = Extract<ImageContent, { kind: 'oci' }>;

/** What a kernel takes: sethostname(2). */
const HOST_NAME_BYTES = 64;

/**
 * All that a guest is told: what a container's bundle says, in fields. Users are looked up in the guest, whose disk is its
 * own. Pure. @throws RuntimeError badImage when there is nothing to run, unsupported for a name too long
 */
export function guestConfig(
  spec: WorkloadSpec,
  image: OciImage,
  resolver: GuestIdentity['resolver'],
): GuestField[] {
  if (Buffer.byteLength(spec.name) > HOST_NAME_BYTES)
    throw new RuntimeError('unsupported', `a host name has at most ${HOST_NAME_BYTES} bytes`);
  const plan = processPlan(image.process, spec.process, spec.name);
  const files = identityFiles({
    hostname: spec.name,
    addresses: spec.nics.flatMap(({ ipv4, ipv6 }) => [ipv4, ...(ipv6 === undefined ? [] : [ipv6])]),
    resolver,
    dns: spec.dns,
  });
  return [
    ...plan.args.map((arg) => ['arg', arg] as const),
    ...plan.env.map((entry) => ['env', entry] as const),
    ['cwd', plan.cwd],
    ['user', plan.user],
    ...(plan.init ? [['init', '1'] as const] : []),
    ['hostname', spec.name],
    ['hosts', files['/etc/hosts']],
    ['resolv', files['/etc/resolv.conf']],
    ['stop', String(signalNumber(stopSignal(image.process, spec.process)))],
    ...spec.nics.flatMap((nic, index) => nicFields(spec, nic, index === 0)),
  ];
}

/** The first nic has the way out, as in a container. `nicsix` tells of the nic before it. */
function nicFields(
  { networks }: WorkloadSpec,
  { id, mac, networkId, ipv4, ipv6 }: WorkloadSpec['nics'][number],
  isWayOut: boolean,
): GuestField[] {
  const network = networks.find((one) => one.id === networkId);
  if (network === undefined)
    throw new RuntimeError('hostFault', `nic ${id} is on network ${networkId}, which the spec does not hold`);
  const text = (address: string, of: { readonly cidr: string; readonly gateway: string }): string =>
    `${address}/${of.cidr.split('/')[1]}${isWayOut ? ` ${of.gateway}` : ''}`;
  const nic: GuestField = ['nic', `${mac} ${text(ipv4, network)}`];
  return ipv6 === undefined || network.ipv6 === undefined
    ? [nic]
    : [nic, ['nicsix', text(ipv6, network.ipv6)]];
}
