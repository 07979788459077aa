export type NetworkErrorCode =
  | 'badSpec'
  | 'subnetTaken'
  | 'nameTaken'
  | 'unknownNetwork'
  | 'bridgeFull'
  | 'ipv6Missing'
  | 'runDirPrivate'
  | 'dnsmasqFailed'
  | 'nftFailed'
  | 'limitsFailed';

/** An expected failure of the host's networking; `remedy` says what an operator does about it. */
export class NetworkError extends Error {
  constructor(
    readonly code: NetworkErrorCode,
    message: string,
    readonly remedy: string,
    cause?: unknown,
  ) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = 'NetworkError';
  }
}
