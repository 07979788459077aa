import { z } from 'zod';

const port = z.int().min(1).max(65_535);

/** A port of an instance's nic that its host answers for, on each of the host's addresses; on those of IPv6 where the nic has one. */
export const PublishedPort = z.strictObject({
  protocol: z.enum(['tcp', 'udp']).default('tcp'),
  /** Port of the host. One instance of a host can have it. */
  hostPort: port,
  /** Port of the guest that gets what comes to the host's. */
  guestPort: port,
});
export type PublishedPort = z.infer<typeof PublishedPort>;

/** A published port as a host realises it. */
export const HostPort = z.strictObject({
  ...PublishedPort.shape,
  protocol: z.enum(['tcp', 'udp']),
  /** Addresses of the guest. */
  ipv4: z.string(),
  /** Absent where it has none. */
  ipv6: z.string().optional(),
});
export type HostPort = z.infer<typeof HostPort>;

/** Ports that a host publishes for instances; what its own programs listen on is not among them. */
export const PortOffer = z.strictObject({
  first: port,
  last: port,
  /** `tcp/8080`: on these a program of the host listens. */
  held: z.array(z.string()),
});
export type PortOffer = z.infer<typeof PortOffer>;

/** `tcp/8080` */
export const portText = ({ protocol, hostPort }: Pick<PublishedPort, 'protocol' | 'hostPort'>): string =>
  `${protocol}/${hostPort}`;

/** Every port that a spec publishes, with its place in the spec. */
export function portsOf(spec: {
  readonly nics: readonly { readonly ports?: readonly PublishedPort[] | undefined }[];
}): readonly (PublishedPort & { readonly path: readonly (string | number)[] })[] {
  return spec.nics.flatMap((nic, n) =>
    (nic.ports ?? []).map((p, i) => ({ ...p, path: ['nics', n, 'ports', i] })),
  );
}

/** Why a host cannot publish a port; null where it can. @param taken ports of other instances there, as `tcp/8080` */
export function portRefusal(
  port: Pick<PublishedPort, 'protocol' | 'hostPort'>,
  host: { readonly offer: PortOffer | undefined; readonly taken: ReadonlySet<string> },
): { readonly have: string; readonly message: string } | null {
  const { offer, taken } = host;
  const text = portText(port);
  if (offer === undefined) return { have: 'none', message: 'its agent publishes no ports' };
  const range = `${offer.first}-${offer.last}`;
  if (port.hostPort < offer.first || port.hostPort > offer.last)
    return { have: range, message: `it publishes the ports ${range}, and ${text} is none of them` };
  if (offer.held.includes(text))
    return { have: `${text} in use`, message: `a program of the host itself listens on ${text}` };
  if (taken.has(text)) return { have: `${text} taken`, message: `another instance there publishes ${text}` };
  return null;
}
