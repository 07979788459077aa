import type { LinkInfo } from '@berth/linux';
import type { NicId, NicUsage, Traffic } from '@berth/model';

/** The counters of a nic by those of its host's end, which counts the other way round: what it sends, the guest receives. */
export function nicUsage({ nicId }: { readonly nicId: NicId }, end: LinkInfo): NicUsage {
  return {
    nicId,
    receivedBytes: end.txBytes,
    sentBytes: end.rxBytes,
    receivedPackets: end.txPackets,
    sentPackets: end.rxPackets,
    receiveErrors: end.txErrors,
    sendErrors: end.rxErrors,
    receiveDrops: end.txDropped,
    sendDrops: end.rxDropped,
  };
}

/** All nics of an instance together. */
export function nicsTogether(nics: readonly NicUsage[]): Traffic {
  const sum = (of: (nic: NicUsage) => number): number => nics.reduce((total, nic) => total + of(nic), 0);
  return {
    receivedBytes: sum((n) => n.receivedBytes),
    sentBytes: sum((n) => n.sentBytes),
    receivedPackets: sum((n) => n.receivedPackets),
    sentPackets: sum((n) => n.sentPackets),
  };
}
