import { transitionalStates, transitions } from './state.js';
import type { InstanceState } from './instance.js';

/** The page docs/states.md: the table of transitions and its diagram, written from the data structure itself. */
export function statesMarkdown(): string {
  const states = Object.keys(transitions) as InstanceState[];
  const transitional = new Set<string>(transitionalStates);
  const arrows = states.flatMap((from) => transitions[from].map((to) => `  ${from} --> ${to}`));
  const rows = states.map(
    (s) =>
      `| \`${s}\` | ${transitional.has(s) ? 'transitional' : 'stable'} | ${transitions[s].map((t) => `\`${t}\``).join(', ') || 'gone'} |`,
  );
  return [
    '# States of an instance',
    '',
    'Generated from the table in `libs/model/src/state.ts`; the transition function refuses every other change.',
    'A transitional state names the operation that owns it and has a deadline. A user may ask only for `running`, `stopped`,',
    '`paused` and `suspended`.',
    '',
    '| state | kind | may become |',
    '| --- | --- | --- |',
    ...rows,
    '',
    '```mermaid',
    'stateDiagram-v2',
    '  [*] --> pending',
    ...arrows,
    '  deleting --> [*]',
    '```',
    '',
  ].join('\n');
}
