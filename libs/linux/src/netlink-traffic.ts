import { attr, type Attribute, attributesDecode, textOf } from './netlink-codec.js';

/**
 * Messages of traffic control (tc(8), <linux/pkt_sched.h>, <linux/pkt_cls.h>): token buckets, and what a link receives or sends
 * led through another one. Pure; numbers are in host order (little endian).
 */

export const RTM_TRAFFIC = {
  NEWQDISC: 36,
  DELQDISC: 37,
  GETQDISC: 38,
  NEWTFILTER: 44,
  DELTFILTER: 45,
  GETTFILTER: 46,
} as const;

/** What passes a link, as the link sees it. */
export type Side = 'received' | 'sent';

const ROOT = { parent: 0xffff_ffff, handle: 0x1_0000 } as const;
/** The hooks of a link on both its sides (clsact), which are asked beside its queue, and what hangs on each. */
const HOOKS = { parent: 0xffff_fff1, handle: 0xffff_0000 } as const;
const SIDES: Readonly<Record<Side, number>> = { received: 0xffff_fff2, sent: 0xffff_fff3 };
/**
 * Priority of the filter of a side, for frames of every kind (ETH_P_ALL, in network order). u32 keeps the filters of both sides in
 * one place, so those of one priority would be told of as the other side's too.
 */
const FILTERS: Readonly<Record<Side, number>> = { received: (1 << 16) | 0x0300, sent: (2 << 16) | 0x0300 };

const TCA = { KIND: 1, OPTIONS: 2 } as const;
const TBF = { PARMS: 1, RATE64: 4, BURST: 6 } as const;
const U32 = { SEL: 5, ACT: 7 } as const;
const ACT = { KIND: 1, OPTIONS: 2 } as const;
const MIRRED_PARMS = 2;
const LINKLAYER_ETHERNET = 1;
const TERMINAL = 1;
const STOLEN = 4;
const EGRESS_REDIRECT = 1;

/** A token bucket (tc-tbf(8)): what is in the bucket passes at once, the rest at the rate; what cannot wait is dropped. */
export interface TokenBucket {
  /** Bytes in a second. */
  readonly rate: number;
  /** Bytes that the bucket holds; at least a frame. */
  readonly burst: number;
  /** Bytes that may wait. */
  readonly queue: number;
}

/** A queueing discipline of a link. */
export interface QueueInfo {
  readonly linkIndex: number;
  /** `noqueue`, `tbf`, `clsact` … */
  readonly kind: string;
  /** Rate and queue of a token bucket; null of any other. The kernel tells its burst only in ticks of its clock. */
  readonly bucket: Omit<TokenBucket, 'burst'> | null;
}

/** struct tcmsg. */
export function trafficHead(linkIndex: number, parent = 0, handle = 0, info = 0): Buffer {
  const head = Buffer.alloc(20);
  head.writeInt32LE(linkIndex, 4);
  head.writeUInt32LE(handle, 8);
  head.writeUInt32LE(parent, 12);
  head.writeUInt32LE(info, 16);
  return head;
}

interface Request {
  readonly head: Buffer;
  readonly attributes: readonly Attribute[];
}

/** @throws RangeError for what is no whole number of at least one, or too many */
export function bucketRequest(linkIndex: number, { rate, burst, queue }: TokenBucket): Request {
  for (const [number, most] of [
    [rate, Number.MAX_SAFE_INTEGER],
    [burst, 0xffff_ffff],
    [queue, 0xffff_ffff],
  ] as const)
    if (!Number.isSafeInteger(number) || number < 1 || number > most)
      throw new RangeError(`not a number of bytes for a token bucket: ${number}`);
  // struct tc_tbf_qopt: rate and peak rate (struct tc_ratespec), queue, bucket in ticks, MTU. The bucket comes in bytes beside it.
  const parms = Buffer.alloc(36);
  parms[1] = LINKLAYER_ETHERNET; // so that no table of times has to be given
  parms.writeUInt32LE(Math.min(rate, 0xffff_ffff), 8);
  parms.writeUInt32LE(queue, 24);
  const options = [attr.bytes(TBF.PARMS, parms), attr.u32(TBF.BURST, burst)];
  if (rate > 0xffff_ffff) {
    const wide = Buffer.alloc(8);
    wide.writeBigUInt64LE(BigInt(rate));
    options.push(attr.bytes(TBF.RATE64, wide));
  }
  return {
    head: trafficHead(linkIndex, ROOT.parent, ROOT.handle),
    attributes: [attr.text(TCA.KIND, 'tbf'), attr.nested(TCA.OPTIONS, options)],
  };
}

export const hooksRequest = (linkIndex: number): Request => ({
  head: trafficHead(linkIndex, HOOKS.parent, HOOKS.handle),
  attributes: [attr.text(TCA.KIND, 'clsact')],
});

/** To ask for the filters of one side. */
export const filtersHead = (linkIndex: number, side: Side): Buffer => trafficHead(linkIndex, SIDES[side]);

/** To take away what `redirectRequest` put. */
export const redirectHead = (linkIndex: number, side: Side): Buffer =>
  trafficHead(linkIndex, SIDES[side], 0, FILTERS[side]);

/** Every frame of one side goes out by another link instead. */
export function redirectRequest(linkIndex: number, side: Side, toIndex: number): Request {
  // struct tc_u32_sel with one key: of each frame no bit is looked at.
  const selector = Buffer.alloc(32);
  selector[0] = TERMINAL;
  selector[2] = 1;
  // struct tc_mirred: index, capabilities, what becomes of the frame, two counts, how it goes, whither.
  const mirred = Buffer.alloc(28);
  mirred.writeInt32LE(STOLEN, 8);
  mirred.writeInt32LE(EGRESS_REDIRECT, 20);
  mirred.writeUInt32LE(toIndex, 24);
  const action = [
    attr.text(ACT.KIND, 'mirred'),
    attr.nested(ACT.OPTIONS, [attr.bytes(MIRRED_PARMS, mirred)]),
  ];
  const options = [
    attr.bytes(U32.SEL, selector),
    attr.nested(U32.ACT, [attr.nested(1, action)]), // the first action
  ];
  return {
    head: redirectHead(linkIndex, side),
    attributes: [attr.text(TCA.KIND, 'u32'), attr.nested(TCA.OPTIONS, options)],
  };
}

export function queueDecode(payload: Buffer): QueueInfo {
  const attributes = attributesDecode(payload.subarray(20));
  const kind = textOf(attributes.get(TCA.KIND) ?? Buffer.alloc(0));
  const options = kind === 'tbf' ? attributes.get(TCA.OPTIONS) : undefined;
  return {
    linkIndex: payload.readInt32LE(4),
    kind,
    bucket: options === undefined ? null : bucketDecode(options),
  };
}

function bucketDecode(options: Buffer): Omit<TokenBucket, 'burst'> | null {
  const attributes = attributesDecode(options);
  const parms = attributes.get(TBF.PARMS);
  if (parms === undefined || parms.length < 36) return null;
  const wide = attributes.get(TBF.RATE64);
  const rate = wide === undefined ? parms.readUInt32LE(8) : Number(wide.readBigUInt64LE());
  return { rate, queue: parms.readUInt32LE(24) };
}

/** The link that a filter sends everything to; null of a filter that does something else. */
export function redirectDecode(payload: Buffer): number | null {
  const within = (bytes: Buffer | undefined, type: number): Buffer | undefined =>
    bytes === undefined ? undefined : attributesDecode(bytes).get(type);
  const options = within(payload.subarray(20), TCA.OPTIONS);
  const action = within(within(options, U32.ACT), 1);
  const mirred = within(within(action, ACT.OPTIONS), MIRRED_PARMS);
  if (mirred === undefined || mirred.length < 28 || mirred.readInt32LE(20) !== EGRESS_REDIRECT) return null;
  return mirred.readUInt32LE(24);
}
