import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isPublicAddress } from './address-rule.js';

const dotted = (n: number): string => [24, 16, 8, 0].map((shift) => (n >>> shift) & 255).join('.');
const number4 = (address: string): number =>
  address.split('.').reduce((n, part) => n * 256 + Number(part), 0);

/** IPv4 that nobody may be sent to, as first and last address. */
const private4: readonly (readonly [string, string])[] = [
  ['0.0.0.0', '0.255.255.255'],
  ['10.0.0.0', '10.255.255.255'],
  ['100.64.0.0', '100.127.255.255'],
  ['127.0.0.0', '127.255.255.255'],
  ['169.254.0.0', '169.254.255.255'],
  ['172.16.0.0', '172.31.255.255'],
  ['192.0.0.0', '192.0.0.255'],
  ['192.0.2.0', '192.0.2.255'],
  ['192.168.0.0', '192.168.255.255'],
  ['198.18.0.0', '198.19.255.255'],
  ['198.51.100.0', '198.51.100.255'],
  ['203.0.113.0', '203.0.113.255'],
  ['224.0.0.0', '255.255.255.255'],
];
const inside4 = fc
  .constantFrom(...private4)
  .chain(([first, last]) => fc.integer({ min: number4(first), max: number4(last) }))
  .map(dotted);
const hex = fc.integer({ min: 0, max: 0xffff }).map((n) => n.toString(16));
const groups = (n: number) => fc.array(hex, { minLength: n, maxLength: n }).map((g) => g.join(':'));

describe('an address is not of the public Internet', () => {
  it('inside any private or special range of IPv4, its edges too', () => {
    for (const [first, last] of private4)
      expect([isPublicAddress(first), isPublicAddress(last)]).toEqual([false, false]);
    fc.assert(fc.property(inside4, (address) => !isPublicAddress(address)));
  });

  it('one outside every such range is', () => {
    for (const address of [
      '1.1.1.1',
      '9.255.255.255',
      '11.0.0.0',
      '100.63.255.255',
      '100.128.0.0',
      '172.15.255.255',
      '172.32.0.0',
      '223.255.255.255',
    ])
      expect(isPublicAddress(address), address).toBe(true);
  });

  it('as IPv6 that carries any IPv4 address, public or not', () => {
    const any4 = fc.integer({ min: 0, max: 0xffffffff });
    fc.assert(
      fc.property(any4, (n) => {
        const high = (n >>> 16).toString(16);
        const low = (n & 0xffff).toString(16);
        return [
          `::ffff:${dotted(n)}`,
          `::ffff:${high}:${low}`,
          `0:0:0:0:0:ffff:${high}:${low}`,
          `::${dotted(n)}`,
          `64:ff9b::${high}:${low}`,
          `64:ff9b:1::${high}:${low}`,
          `2002:${high}:${low}::1`,
          `2001:0:${high}:${low}::1`,
        ].every((address) => !isPublicAddress(address));
      }),
    );
  });

  it('as IPv6 outside global unicast: loopback, local, link, multicast, and what is not handed out', () => {
    for (const address of [
      '::',
      '::1',
      'fe80::1',
      'fe80::1%eth0',
      'fec0::1',
      'fc00::1',
      'fd12:3456::1',
      'ff02::1',
      '100::1',
      '5f00::1',
      '2001:db8::1',
      '3fff::1',
    ])
      expect(isPublicAddress(address), address).toBe(false);
    const outside = fc.integer({ min: 0, max: 0xffff }).filter((n) => n >>> 13 !== 1);
    fc.assert(
      fc.property(outside, groups(7), (first, rest) => !isPublicAddress(`${first.toString(16)}:${rest}`)),
    );
  });

  it('though global unicast is, in every way of writing it', () => {
    expect(isPublicAddress('2606:4700:4700::1111')).toBe(true);
    expect(isPublicAddress('2606:4700:4700:0:0:0:0:1111')).toBe(true);
    fc.assert(fc.property(groups(7), (rest) => isPublicAddress(`2a00:${rest}`)));
  });

  it('nor is anything that is no address', () => {
    fc.assert(fc.property(fc.string(), (text) => !isPublicAddress(`${text}.`)));
    for (const text of ['', 'localhost', '127.1', '0x7f.0.0.1', '2130706433', '1.1.1.1 ', '[::1]', '1.1.1'])
      expect(isPublicAddress(text), text).toBe(false);
  });
});
