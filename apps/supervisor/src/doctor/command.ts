import type { Config } from '../config.js';
import type { Paths } from '../paths.js';
import { table } from '../table.js';
import type { Check } from './check.js';
import { checksFrom } from './findings.js';
import { probeMachine } from './probes/probe.js';

/** Prints every requirement. Exit code 1 when something keeps Berth from running. */
export async function doctorCommand(paths: Paths, config: Config, json: boolean): Promise<number> {
  const checks = checksFrom(await probeMachine(paths, config));
  process.stdout.write(json ? `${JSON.stringify(checks, null, 2)}\n` : doctorText(checks));
  return checks.some((c) => c.verdict === 'fail') ? 1 : 0;
}

export function doctorText(checks: readonly Check[]): string {
  const rows = checks.map((c) => [c.verdict, c.name, c.found]);
  const lines = table(['', 'REQUIREMENT', 'FOUND'], rows).split('\n');
  const body = checks.flatMap((c, i) => [
    lines[i + 1]!,
    ...(c.remedy === '' ? [] : [`      -> ${c.remedy}`]),
  ]);
  const failed = checks.filter((c) => c.verdict === 'fail').length;
  const warned = checks.filter((c) => c.verdict === 'warn').length;
  const end =
    failed > 0
      ? `${failed} requirement(s) are not met.`
      : `Berth can run here${warned > 0 ? `, with ${warned} limit(s) above` : ''}.`;
  return `${[lines[0]!, ...body].join('\n')}\n\n${end}\n`;
}
