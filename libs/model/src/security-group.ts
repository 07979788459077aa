import { z } from 'zod';
import { Name, SecurityGroupId } from './ids.js';
import { Ipv6Cidr } from './ipv6.js';

const port = z.int().min(1).max(65_535);

/** `10.0.0.0/8`; no bits beside the prefix. */
export const Ipv4Cidr = z.cidrv4().refine((text) => {
  const [address = '', prefix = ''] = text.split('/');
  const number = address.split('.').reduce((sum, part) => sum * 256 + Number(part), 0);
  return number % 2 ** (32 - Number(prefix)) === 0;
}, 'must be a network in CIDR notation, with no bits beside the prefix: 10.0.0.0/8');

/** `10.0.0.0/8` or `fd00::/8`. */
const AnyCidr = z
  .string()
  .refine(
    (text) => Ipv4Cidr.safeParse(text).success || Ipv6Cidr.safeParse(text).success,
    'must be a network in CIDR notation, with no bits beside the prefix: 10.0.0.0/8 or fd00::/8',
  );

/** One kind of new connections that a security group allows. What belongs to one that was allowed always passes. */
export const SecurityRule = z
  .strictObject({
    direction: z.enum(['ingress', 'egress']),
    /** Absent: every protocol. `icmp` is that of both IP versions. */
    protocol: z.enum(['tcp', 'udp', 'icmp']).optional(),
    /** Ports that are connected to; absent: every port. */
    ports: z.strictObject({ first: port, last: port }).optional(),
    /** Where an ingress rule allows connections from, and an egress rule to: a network of IPv4 or IPv6. With neither: everywhere. */
    cidr: AnyCidr.optional(),
    /** A group of the project: its members on the same network. */
    group: Name.optional(),
  })
  .superRefine((rule, ctx) => {
    const refuse = (path: string, message: string): void =>
      ctx.addIssue({ code: 'custom', path: [path], message });
    if (rule.ports !== undefined && rule.protocol !== 'tcp' && rule.protocol !== 'udp')
      refuse('ports', 'only tcp and udp have ports; name one of them as protocol');
    if (rule.ports !== undefined && rule.ports.first > rule.ports.last)
      refuse('ports', 'must begin with the lower port');
    if (rule.cidr !== undefined && rule.group !== undefined)
      refuse('group', 'name either a group or a cidr; write two rules for both');
  });
export type SecurityRule = z.infer<typeof SecurityRule>;

const rules = z.array(SecurityRule).max(64);

/** What the nics that name it may be connected to, and connect to. */
export const SecurityGroup = z
  .strictObject({
    id: SecurityGroupId,
    project: Name,
    name: Name,
    rules,
    resourceVersion: z.int(),
    createdAt: z.iso.datetime(),
  })
  .meta({ id: 'SecurityGroup' });
export type SecurityGroup = z.infer<typeof SecurityGroup>;

export const SecurityGroupPut = z.strictObject({ rules }).meta({ id: 'SecurityGroupPut' });
export type SecurityGroupPut = z.infer<typeof SecurityGroupPut>;

/** A group as a host realises it on one network. */
export const HostSecurityGroup = z.strictObject({ name: Name, rules });
export type HostSecurityGroup = z.infer<typeof HostSecurityGroup>;
