import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ReferenceFault, RegistryReference } from './registry-reference.js';

/*
 * The grammar of distribution's reference/regexp.go, written down a second time as that file has it (one expression, built of
 * its parts; its `[-]*` between two runs of letters may be empty, which only Go's expressions bear). tests/images/registry.test.ts asks skopeo, which carries the original.
 */
const alphaNumeric = '[a-z0-9]+';
const separator = '(?:[._]|__|[-]+)';
const component = `${alphaNumeric}(?:${separator}${alphaNumeric})*`;
const domainComponent = '(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])';
const domain = `(?:${domainComponent}(?:\\.${domainComponent})*|\\[(?:[a-fA-F0-9:]+)\\])(?::[0-9]+)?`;
const grammar = new RegExp(
  `^((?:${domain}/)?${component}(?:/${component})*)(?::([\\w][\\w.-]{0,127}))?(?:@(sha256:[0-9a-f]{64}))?$`,
);

const chars = (alphabet: string, min: number, max: number): fc.Arbitrary<string> =>
  fc.string({ unit: fc.constantFrom(...alphabet), minLength: min, maxLength: max });
const lower = 'abcxyz0189';
const label = chars('abcXYZ019', 1, 12);
const port = fc.option(fc.integer({ min: 1, max: 65_535 }), { nil: null });
const host = fc.oneof(
  fc.tuple(label, label).map(([a, b]) => `x${a}.y${b}`),
  fc.constantFrom('localhost', '127.0.0.1', '10.2.3.4', '[::1]', '[2001:db8::7]', 'REG'),
);
const domains = fc.tuple(host, port).map(([h, p]) => (p === null ? h : `${h}:${p}`));
const components = fc
  .array(fc.tuple(chars(lower, 1, 6), fc.constantFrom('.', '_', '__', '-', '---')), {
    minLength: 1,
    maxLength: 3,
  })
  .map((parts) => parts.map(([text, sep], i) => (i === 0 ? text : `${sep}${text}`)).join(''));
const repositories = fc.array(components, { minLength: 1, maxLength: 4 }).map((all) => all.join('/'));
const tags = fc.tuple(chars('aZ_9', 1, 1), chars('aZ_9.-', 0, 20)).map(([a, b]) => a + b);
const digests = chars('0123456789abcdef', 64, 64).map((hex) => `sha256:${hex}`);

const fault = (text: string): ReferenceFault | null => {
  try {
    RegistryReference.parse(text);
    return null;
  } catch (error) {
    if (error instanceof ReferenceFault) return error;
    throw error;
  }
};

describe('a reference', () => {
  it('is its parts, and they are it', () => {
    fc.assert(
      fc.property(
        fc.record({
          domain: domains,
          repository: repositories,
          tag: fc.option(tags, { nil: null }),
          digest: fc.option(digests, { nil: null }),
        }),
        (parts) => {
          const { domain: d, repository, tag, digest } = parts;
          const text = `${d}/${repository}${tag === null ? '' : `:${tag}`}${digest === null ? '' : `@${digest}`}`;
          const read = RegistryReference.parse(text);
          expect({ ...read }).toEqual({ ...parts, tag: digest === null ? (tag ?? 'latest') : tag });
          expect(grammar.test(text)).toBe(true);
          const again = RegistryReference.parse(String(read));
          expect(again).toEqual(read);
          expect(read.wanted).toBe(digest ?? tag ?? 'latest');
          // What it becomes an address of is the host that was named, and nothing of the path is anything but path.
          const url = new URL(`/v2/${read.repository}/manifests/${read.wanted}`, `https://${read.host}`);
          expect(url.pathname).toBe(`/v2/${repository}/manifests/${read.wanted}`);
          expect([url.search, url.hash, url.username]).toEqual(['', '', '']);
        },
      ),
    );
  });

  it('is taken only if the grammar has it, and refused of those only for a rule of its own', () => {
    const piece = fc.oneof(
      label,
      components,
      tags,
      digests,
      domains,
      fc.constantFrom(
        '/',
        ':',
        '@',
        '.',
        '-',
        '_',
        '..',
        '//',
        '[',
        ']',
        '%',
        '?',
        '#',
        ' ',
        '\n',
        '\0',
        'ä',
        '\\',
        '/../',
      ),
    );
    const built = fc.array(piece, { minLength: 1, maxLength: 9 }).map((parts) => parts.join(''));
    fc.assert(
      fc.property(fc.oneof(built, fc.string({ unit: 'binary', maxLength: 60 })), (text) => {
        const refused = fault(text);
        if (refused === null) expect(grammar.test(text)).toBe(true);
        else if (grammar.test(text))
          expect(refused.message).toMatch(/which registry|names no host|longer than 255/);
      }),
      { numRuns: 1_000 },
    );
  });

  it('of Docker Hub has a host of its own, and a library where no user is named', () => {
    for (const text of ['docker.io/busybox', 'index.docker.io/busybox:latest', 'docker.io/library/busybox']) {
      const read = RegistryReference.parse(text);
      expect([String(read), read.host]).toEqual(['docker.io/library/busybox:latest', 'registry-1.docker.io']);
    }
    expect(String(RegistryReference.parse('docker.io:5000/busybox'))).toBe('docker.io:5000/busybox:latest');
  });

  it.each([
    ['busybox', 'does not say which registry', 'docker.io/library/busybox'],
    ['someone/app:1', 'does not say which registry', 'docker.io/someone/app'],
    ['busybox:1.36', 'does not say which registry', 'docker.io/library/busybox'],
    ['', 'does not say which registry', 'docker.io/'],
    ['r.example/App', 'the repository component "App"', 'lower case'],
    ['r.example/a/../b', 'the repository component ".."', 'lower case'],
    ['r.example/a//b', 'the repository component ""', 'lower case'],
    ['r.example/', 'the repository component ""', 'lower case'],
    ['r.example/a:', 'a tag', '1 to 128'],
    ['r.example/a:.x', 'a tag', '1 to 128'],
    [`r.example/a:${'x'.repeat(129)}`, 'a tag', '1 to 128'],
    ['r.example/a@sha256:12', 'a digest', 'sha256'],
    [`r.example/a@sha512:${'0'.repeat(128)}`, 'a digest', 'sha256'],
    [`r.example/a@sha256:${'A'.repeat(64)}`, 'in lower case', 'sha256'],
    ['me:pass@r.example/a', 'a digest', 'sha256'],
    ['http://r.example/a', 'names no host', 'Begin with'],
    ['1.2.3.999/a', 'names no host', 'Begin with'],
    ['r.example:99999/a', 'names no host', 'Begin with'],
    ['-r.example/a', 'names no host', 'Begin with'],
    [`r.example/${'a'.repeat(250)}`, 'longer than 255', 'shorter'],
  ])('%s is none', (text, why, remedy) => {
    const refused = fault(text);
    expect(refused?.message).toMatch(new RegExp(why));
    expect(refused?.remedy).toContain(remedy);
  });
});
