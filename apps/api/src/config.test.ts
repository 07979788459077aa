import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ConfigError, configLoad } from './config.js';

let dir: string;
beforeEach(() => void (dir = mkdtempSync(join(tmpdir(), 'berth-config-'))));
afterEach(() => rmSync(dir, { recursive: true }));

const file = (text: string): string => {
  const path = join(dir, 'berth.yaml');
  writeFileSync(path, text);
  return path;
};

describe('the configuration of the API', () => {
  it('needs no file, only a database', () => {
    expect(configLoad({ DATABASE_URL: 'postgres:///x' }, join(dir, 'none.yaml'))).toMatchObject({
      apiPort: 7070,
      linkPort: 7071,
      apiAddress: '127.0.0.1',
    });
  });

  it('lets the environment win over the file', () => {
    const path = file('api:\n  databaseUrl: postgres:///x\n  apiPort: 8000\n');
    expect(configLoad({}, path).apiPort).toBe(8000);
    expect(
      configLoad({ BERTH_API_PORT: '9000', BERTH_LINK_ADDRESSES: '127.0.0.1,10.0.0.1' }, path),
    ).toMatchObject({ apiPort: 9000, linkAddresses: ['127.0.0.1', '10.0.0.1'] });
  });

  it('names every bad key at once, with where it can be set', () => {
    const path = file('api:\n  apiPort: 70000\n  linkAddresses: [localhost]\n  colour: red\n');
    const told = (() => {
      try {
        configLoad({}, path);
        return [];
      } catch (e) {
        return (e as ConfigError).problems;
      }
    })().join('\n');
    for (const key of ['databaseUrl', 'apiPort', 'linkAddresses', 'colour']) expect(told).toContain(key);
    expect(told).toContain('BERTH_API_PORT');
  });

  it('takes mirrors of registries from both, and says which is none', () => {
    const path = file(
      'api:\n  databaseUrl: postgres:///x\n  registryMirrors: { docker.io: [mirror.lan:5000/hub] }\n',
    );
    expect(configLoad({}, path).registryMirrors).toEqual({ 'docker.io': ['mirror.lan:5000/hub'] });
    const both = 'docker.io=a.lan,docker.io=b.lan:1,r.example=a.lan';
    expect(configLoad({ BERTH_REGISTRY_MIRRORS: both }, path).registryMirrors).toEqual({
      'docker.io': ['a.lan', 'b.lan:1'],
      'r.example': ['a.lan'],
    });
    for (const [text, words] of [
      ['docker.io=https://a.lan', 'https://a.lan'],
      ['docker.io=mirror', 'mirror does not say which registry'],
      ['docker.io/x=a.lan', 'docker.io/x is no host of a registry'],
      ['docker.io', 'does not say which registry'],
    ] as const)
      expect(() => configLoad({ BERTH_REGISTRY_MIRRORS: text }, path), text).toThrow(words);
  });
});
