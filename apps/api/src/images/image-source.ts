import { isIP } from 'node:net';
import { BerthError, type ImageSources } from '@berth/model';
import { isPublicAddress } from './address-rule.js';

/** An address as it may stand in events, errors and logs: a query may be a signature. */
export function shownAddress(url: URL): string {
  return `${url.origin}${url.pathname}${url.search === '' ? '' : '?…'}`;
}

const invalidUrl = (message: string, remedy: string): BerthError =>
  new BerthError('invalid', `The url ${message}.`, {
    errors: [{ path: '/url', code: 'invalid', message, remedy }],
  });

/** Parses the address of a source. @throws BerthError invalid */
export function sourceUrl(text: string): URL {
  let url: URL;
  try {
    url = new URL(text);
  } catch {
    throw invalidUrl('is no absolute address', 'Send https://host/path.');
  }
  const fault = urlFault(url);
  if (fault !== null) throw invalidUrl(...fault);
  url.hash = '';
  return url;
}

/** Why an address is taken from nobody, be it of a request or a redirect: message and remedy. */
export function urlFault(url: URL): [string, string] | null {
  if (url.protocol !== 'http:' && url.protocol !== 'https:')
    return [
      `has the scheme ${JSON.stringify(url.protocol.slice(0, -1))}; only http and https are fetched`,
      'Offer the image by https.',
    ];
  if (url.username !== '' || url.password !== '')
    return [
      'holds a user name or password, which would be kept and logged',
      'Leave them out; use an address with a short-lived signature in its query.',
    ];
  return null;
}

/** The host of a URL as an address, without the brackets of IPv6; null when it is a name. */
export function literalAddress(url: URL): string | null {
  const host = url.hostname.replace(/^\[|\]$/g, '');
  return isIP(host) === 0 ? null : host;
}

/** Whether a project lets its imports connect to an address. */
export const mayConnect = (address: string, sources: ImageSources): boolean =>
  sources.privateAddresses || isPublicAddress(address);

/** The refusal of an address that is not of the public Internet. `host` is the one of the URL. */
export function privateRefused(host: string, address: string): BerthError {
  const where = host === address ? address : `${host} (${address})`;
  return new BerthError('forbidden', `The address ${where} is not of the public Internet.`, {
    remedy:
      'An administrator may let the project fetch from there: imageSources.privateAddresses (berth project set --image-private-addresses on). Or download the image, and upload the file.',
  });
}

/** The refusal of a redirect. */
export function redirectRefused(to: URL): BerthError {
  return new BerthError('forbidden', `the server redirects to ${shownAddress(to)}`, {
    remedy:
      'Name that address itself; or an administrator may let the project follow redirects: imageSources.redirects (berth project set --image-redirects on).',
  });
}
