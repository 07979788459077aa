import { existsSync } from 'node:fs';
import { expect, it } from 'vitest';
import { cpuModels, readCpuModels } from './cpu-models.js';
import { answersOfProcess } from './qemu-answers.js';

it('are those that QEMU can give whole, which libvirt knows by the same names', async () => {
  const { tcg, kvm } = await cpuModels(false, answersOfProcess);
  expect(tcg).toEqual(expect.arrayContaining(['max', 'qemu64', 'Nehalem']));
  expect(kvm).toEqual([]);
  for (const name of tcg.filter((model) => model !== 'max'))
    expect([name, existsSync(`/usr/share/libvirt/cpu_map/x86_${name}.xml`)]).toEqual([name, true]);
});

it('leave out what lacks a feature, of which nothing is said, and versions of another', () => {
  const model = (name: string, missing?: string[]) => ({
    name,
    'unavailable-features': missing,
    static: false,
  });
  const all = [
    model('Nehalem', []),
    model('Nehalem-v1', []),
    model('EPYC', ['svm']),
    model('host', []),
    model('base', []),
    model('unsaid'),
    model('Conroe', []),
  ];
  const lines = [{ QMP: { version: {} } }, { return: {} }, { return: all }, { return: {} }];
  expect(readCpuModels(lines.map((line) => JSON.stringify(line)).join('\n'))).toEqual(['Conroe', 'Nehalem']);
  expect(() => readCpuModels('{"return": {}}\n')).toThrow('did not say');
});
