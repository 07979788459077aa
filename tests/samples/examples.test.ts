import { readFileSync } from 'node:fs';
import { InstanceCreate } from '@berth/model';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';

const example = (name: string) => readFileSync(new URL(`../../examples/${name}`, import.meta.url), 'utf8');

describe('examples', () => {
  it.each(['vm.yaml', 'container.yaml', 'probes.yaml'])('%s is a request that the model accepts', (name) => {
    const body = InstanceCreate.parse(parse(example(name)));
    expect(body.spec.memoryMiB).toBeLessThanOrEqual(192);
  });

  it('hand a nonce to the guest through the one placeholder that they have', () => {
    const filled = (name: string) =>
      InstanceCreate.parse(parse(example(name).replaceAll('${NONCE}', 'abc123'))).spec;
    expect(filled('vm.yaml').userData).toBe('#cloud-config\nnonce: abc123\n');
    expect(filled('container.yaml').process?.env).toEqual({ NONCE: 'abc123' });
  });
});
