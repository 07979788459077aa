import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { CloudConfigError, guestData } from './login.js';

const one = 'ssh-ed25519 AAAAone a: comment # with "marks"';
const two = 'ssh-ed25519 AAAAtwo';
const dev = {
  name: 'dev',
  sudo: 'ALL=(ALL) NOPASSWD:ALL',
  // eslint-disable-next-line no-restricted-syntax -- the login shell in the guest
  shell: '/bin/bash',
  lock_passwd: true,
  ssh_authorized_keys: [one],
};
const read = (text: string): unknown => {
  expect(text.split('\n')[0]).toBe('#cloud-config');
  return parse(text, { version: '1.1' });
};

describe('who may sign in', () => {
  it('is nobody where the spec names none: user data goes as it is', () => {
    expect(guestData('anything', undefined)).toEqual({ userData: 'anything', vendorData: null });
    expect(read(guestData(null, undefined).userData)).toEqual({});
  });

  it.each([null, '#cloud-config', '#cloud-config\n', '#cloud-config \r\n# nothing\n'])(
    'is all there is beside user data %j',
    (userData) => {
      const { userData: own, vendorData } = guestData(userData, { user: 'dev', sshKeys: [one] });
      expect(read(own)).toEqual({ users: ['default', dev] });
      expect(vendorData).toBeNull();
      expect(read(guestData(userData, { sshKeys: [one, two] }).userData)).toEqual({
        ssh_authorized_keys: [one, two],
      });
    },
  );

  it('is added to a cloud-config, of which every word stays', () => {
    const written = '#cloud-config\n# mine\nruncmd: [[ls, "-l"]]   # why\nmode: 0644\nwhen: 12:30\n';
    const { userData } = guestData(written, { user: 'dev', sshKeys: [one] });
    for (const part of ['# mine', '# why', 'mode: 0644', 'when: 12:30']) expect(userData).toContain(part);
    expect(read(userData)).toMatchObject({ runcmd: [['ls', '-l']], users: ['default', dev] });
  });

  it('is added to the users and keys that are there, once', () => {
    const users = '#cloud-config\nusers:\n  - name: ops\n';
    expect(read(guestData(users, { user: 'dev', sshKeys: [one] }).userData)).toEqual({
      users: [{ name: 'ops' }, dev],
    });
    const same = `#cloud-config\nusers: [{name: dev, uid: 7, ssh_authorized_keys: ["${two}"]}]\n`;
    expect(read(guestData(same, { user: 'dev', sshKeys: [one, two] }).userData)).toEqual({
      users: [{ name: 'dev', uid: 7, ssh_authorized_keys: [two, one] }],
    });
    const keys = `#cloud-config\nssh_authorized_keys:\n- ${two}\n`;
    expect(read(guestData(keys, { sshKeys: [two, one] }).userData)).toEqual({
      ssh_authorized_keys: [two, one],
    });
  });

  it.each([
    '#!/bin/sh\nls\n',
    'Content-Type: multipart/mixed',
    '## template: jinja\n#cloud-config\n',
    '#cloud-config-archive\n- x',
  ])('goes as vendor data beside %j, which nothing can be added to', (userData) => {
    const made = guestData(userData, { sshKeys: [one] });
    expect(made.userData).toBe(userData);
    expect(read(made.vendorData ?? '')).toEqual({ ssh_authorized_keys: [one] });
  });

  it.each(['- a list', 'just text', 'a: [', 'users: dev', 'users:\n  default: 1', 'a: 1\na: 2'])(
    'is not added to a cloud-config with %j',
    (text) => {
      const add = () => guestData(`#cloud-config\n${text}\n`, { user: 'dev', sshKeys: [one] });
      expect(add).toThrow(CloudConfigError);
    },
  );

  it('changes nothing else, whatever the keys and values are', () => {
    fc.assert(
      fc.property(
        // `<<` is no key but an order to merge, which a reader of YAML 1.1 refuses beside anything but a map.
        fc
          .dictionary(fc.stringMatching(/^[a-z_]{1,12}$/), fc.jsonValue())
          .filter((config) => !JSON.stringify(config).includes('"<<"')),
        fc.string(),
        (config, comment) => {
          const { users: _, ...rest } = config;
          const key = `ssh-ed25519 AAAA ${comment}`;
          const { userData } = guestData(`#cloud-config\n${JSON.stringify(rest)}\n`, {
            user: 'dev',
            sshKeys: [key],
          });
          const users = ['default', { ...dev, ssh_authorized_keys: [key] }];
          expect(read(userData)).toEqual({ ...(JSON.parse(JSON.stringify(rest)) as object), users });
        },
      ),
      { numRuns: 500 },
    );
  });
});
