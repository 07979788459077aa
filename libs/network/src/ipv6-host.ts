import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { hasCode, ifnameCheck } from '@berth/linux';
import { NetworkError } from './network-error.js';

/*
 * What the kernel of a host does with IPv6, by its settings below /proc/sys/net/ipv6 (Linux, networking/ip-sysctl) in the network
 * namespace of the calling thread.
 */
const ROOT = '/proc/sys/net/ipv6';
const setting = (link: string, name: string): string => `${ROOT}/conf/${link}/${name}`;

function read(path: string): string | null {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return null;
    throw error;
  }
}

function write(path: string, value: string): void {
  if (read(path) !== value) writeFileSync(path, value);
}

/** Why this host carries no IPv6, and what to do about it; null where it does. */
export function ipv6Missing(): { readonly reason: string; readonly remedy: string } | null {
  if (!existsSync(`${ROOT}/conf/all`))
    return {
      reason: 'the kernel has no IPv6',
      remedy:
        'start the host without ipv6.disable=1, with a kernel that has IPv6, or use networks without ipv6Cidr',
    };
  if (read(setting('all', 'disable_ipv6')) !== '1') return null;
  return {
    reason: 'IPv6 is turned off (net.ipv6.conf.all.disable_ipv6)',
    remedy:
      'sysctl -w net.ipv6.conf.all.disable_ipv6=0, and take it out of /etc/sysctl.d; or use networks without ipv6Cidr',
  };
}

/** No IPv6 on a link of ours: nothing of the host answers guests on link-local addresses. */
export function ipv6Disable(link: string): void {
  try {
    writeFileSync(setting(ifnameCheck(link), 'disable_ipv6'), '1');
    writeFileSync(setting(link, 'accept_ra'), '0');
  } catch (error) {
    if (!hasCode(error, 'ENOENT')) throw error; // a kernel without IPv6
  }
}

/**
 * IPv6 on a link of ours, with the addresses that it is given, at once, and none from a router. @param linkLocal whether the kernel makes
 * the link-local address, from the MAC, or it is given too. @throws NetworkError ipv6Missing
 */
export function ipv6Enable(link: string, linkLocal: 'fromMac' | 'given'): void {
  const of = (name: string): string => setting(ifnameCheck(link), name);
  if (!existsSync(of('disable_ipv6'))) throw refused('the kernel has no IPv6');
  write(of('accept_ra'), '0');
  write(of('autoconf'), '0');
  // IPAM gave the address: nobody is asked for a second whether it is free.
  write(of('accept_dad'), '0');
  write(of('addr_gen_mode'), linkLocal === 'fromMac' ? '0' : '1');
  write(of('disable_ipv6'), '0');
}

function refused(reason: string): NetworkError {
  const remedy = ipv6Missing()?.remedy ?? 'run berth doctor on this host';
  return new NetworkError('ipv6Missing', `this host carries no IPv6: ${reason}`, remedy);
}

/** @throws NetworkError ipv6Missing */
export function ipv6Check(): void {
  const missing = ipv6Missing();
  if (missing !== null) throw refused(missing.reason);
}

/**
 * Lets this network namespace forward IPv6. A host that forwards hears no router unless told so (`accept_ra` 2): links that hear
 * one now go on, or the host would lose its way out.
 */
export function forwarding6Enable(): void {
  if (read(setting('all', 'forwarding')) === '1') return;
  for (const link of readdirSync(`${ROOT}/conf`)) {
    if (link === 'all' || link === 'default' || read(setting(link, 'accept_ra')) !== '1') continue;
    try {
      writeFileSync(setting(link, 'accept_ra'), '2');
    } catch (error) {
      if (!hasCode(error, 'ENOENT')) throw error; // gone meanwhile
    }
  }
  writeFileSync(setting('all', 'forwarding'), '1');
}
