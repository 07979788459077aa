import { stat } from 'node:fs/promises';
import { run } from '@berth/linux';
import type { CpuModels } from '@berth/model';
import { z } from 'zod';
import type { QemuAnswers } from './qemu-answers.js';

const PROGRAM = '/usr/bin/qemu-system-x86_64';
const LIMIT_MS = 20_000;
const NOBODY = 65_534;

/** QMP `query-cpu-definitions`. */
const Definitions = z.object({
  return: z.array(z.object({ name: z.string(), 'unavailable-features': z.array(z.string()).optional() })),
});

/**
 * Models whose every feature this host has, by QEMU's own word under each acceleration. What cannot be asked has none.
 *
 * @param kvm whether KVM is usable
 */
export async function cpuModels(kvm: boolean, qemu: QemuAnswers): Promise<CpuModels> {
  const under = (accel: 'kvm' | 'tcg'): Promise<string[]> =>
    qemu.once(`models ${accel}`, z.array(z.string()), () => modelsUnder(accel)).catch(() => []);
  return { tcg: await under('tcg'), kvm: kvm ? await under('kvm') : [] };
}

/** In a QEMU as weak as any machine's, without a guest. */
async function modelsUnder(accel: 'kvm' | 'tcg'): Promise<string[]> {
  const groups = accel === 'kvm' ? [`--groups=${(await stat('/dev/kvm')).gid}`] : ['--clear-groups'];
  const weak = ['--no-new-privs', '--inh-caps=-all', '--ambient-caps=-all', '--bounding-set=-all'];
  const who = [`--reuid=${NOBODY}`, `--regid=${NOBODY}`, ...groups, '--pdeathsig=KILL', ...weak];
  const machine = ['-nodefaults', '-no-user-config', '-display', 'none', '-S', '-m', '16M'];
  const input = ['qmp_capabilities', 'query-cpu-definitions', 'quit']
    .map((execute) => `${JSON.stringify({ execute })}\n`)
    .join('');
  const { stdout } = await run(
    'setpriv',
    [...who, '--', PROGRAM, ...machine, '-machine', `q35,accel=${accel}`, '-qmp', 'stdio'],
    { input, timeoutMs: LIMIT_MS },
  );
  return readCpuModels(stdout);
}

/**
 * The names in what QEMU answered, sorted. Versions of a model (`Nehalem-v1`) are left out: libvirt does not know them, and each
 * is what its plain name means to some machine type.
 */
export function readCpuModels(text: string): string[] {
  for (const line of text.split('\n')) {
    if (line.trim() === '') continue;
    const answer = Definitions.safeParse(JSON.parse(line));
    if (!answer.success) continue;
    return answer.data.return
      .filter((model) => model['unavailable-features']?.length === 0)
      .map(({ name }) => name)
      .filter((name) => !/-v\d+$/.test(name) && name !== 'host' && name !== 'base')
      .sort();
  }
  throw new Error('QEMU did not say which processors it has');
}
