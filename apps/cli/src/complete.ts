import type { Command, Option } from 'commander';
import { answer, type BerthClient } from '@berth/client';
import { kindName, kinds, type KindName } from './kinds.js';
import { plainLine } from './terminal.js';

/** Commands of the entry script that are not ours. */
const machineCommands = ['bench', 'config', 'demo', 'doctor', 'down', 'status', 'test', 'up'];
const mostNames = 500;

/** Whose names an argument takes, where it is not an instance. */
const argumentKinds: Readonly<Record<string, KindName | 'tokens' | 'files'>> = {
  'image rm': 'images',
  'image import': 'files',
  'host cordon': 'hosts',
  'host uncordon': 'hosts',
  'operation get': 'operations',
  'operation wait': 'operations',
  'token revoke': 'tokens',
};
const optionKinds: Readonly<Record<string, KindName>> = {
  '--host': 'hosts',
  '--instance': 'instances',
  '--project': 'projects',
};

export interface Completing {
  /** The words after `berth`; the last one is not finished and may be empty. */
  readonly words: readonly string[];
  /** Made only when names are needed. @throws whatever is wrong */
  readonly api: () => BerthClient;
  readonly project: string;
}

/** What the last word may become. Nothing where only a file name fits; the shell then completes files. */
export async function completions(program: Command, asked: Completing): Promise<string[]> {
  const partial = asked.words.at(-1) ?? '';
  const at = walk(program, asked);
  const found =
    at.pending !== null ? await valuesOf(at.pending, at, asked) : await wordsOf(at, partial, asked);
  return [...new Set(found)]
    .filter((word) => word.startsWith(partial) && word === plainLine(word) && !/\s/.test(word))
    .sort();
}

interface Place {
  readonly program: Command;
  readonly command: Command;
  readonly operands: readonly string[];
  /** Whether a word may be an option: none is behind `--`. */
  readonly options: boolean;
  /** An option that waits for its value. */
  readonly pending: Option | null;
  readonly project: string;
}

/** Where the finished words lead. */
function walk(program: Command, asked: Completing): Place {
  let command = program;
  let pending: Option | null = null;
  let project = asked.project;
  const operands: string[] = [];
  let options = true;
  for (const word of asked.words.slice(0, -1)) {
    if (pending !== null) {
      if (pending.long === '--project') project = word;
      pending = null;
      continue;
    }
    if (options && word === '--') {
      options = false;
      continue;
    }
    if (options && word.startsWith('-')) {
      const option = optionsOf(program, command).find((o) => o.short === word || o.long === word);
      if (option !== undefined && option.required) pending = option;
      continue;
    }
    const below = command.commands.find((c) => c.name() === word);
    if (below === undefined || operands.length > 0) operands.push(word);
    else command = below;
  }
  return { program, command, operands, options, pending, project };
}

const optionsOf = (program: Command, command: Command): readonly Option[] => [
  ...command.options,
  ...(command === program ? [] : program.options),
];

async function valuesOf(option: Option, at: Place, asked: Completing): Promise<string[]> {
  if (option.argChoices !== undefined) return option.argChoices;
  const kind = optionKinds[option.long ?? ''];
  return kind === undefined ? [] : namesOf(kind, asked.api(), at.project);
}

async function wordsOf(at: Place, partial: string, asked: Completing): Promise<string[]> {
  const { program, command, operands } = at;
  if (at.options && partial.startsWith('-'))
    return [...optionsOf(program, command).map((o) => o.long ?? ''), '--help'];
  if (command.commands.length > 0) {
    const below = command.commands.map((c) => c.name()).filter((name) => !name.startsWith('__'));
    return command === program ? [...below, ...machineCommands] : below;
  }
  const wanted = command.registeredArguments[operands.length] ?? command.registeredArguments.at(-1);
  if (
    wanted === undefined ||
    (operands.length > 0 && wanted !== command.registeredArguments[operands.length] && !wanted.variadic)
  )
    return [];
  if (wanted.name() === 'kind') return Object.keys(kinds);
  if (wanted.argChoices !== undefined) return wanted.argChoices;
  return namesOf(kindOfArgument(command, operands), asked.api(), at.project);
}

function kindOfArgument(command: Command, operands: readonly string[]): KindName | 'tokens' | 'files' {
  const parent = command.parent?.parent === null ? '' : `${command.parent?.name() ?? ''} `;
  // Programs and their arguments are the container's.
  if (command.name() === 'exec' && operands.length > 0) return 'files';
  if (command.registeredArguments[0]?.name() === 'kind') return kindName(operands[0] ?? '') ?? 'files';
  return argumentKinds[`${parent}${command.name()}`] ?? (parent === '' ? 'instances' : 'files');
}

async function namesOf(
  kind: KindName | 'tokens' | 'files',
  api: BerthClient,
  project: string,
): Promise<string[]> {
  if (kind === 'files') return [];
  if (kind === 'tokens') return (await answer(api.rest.GET('/v1/tokens'))).items.map((t) => t.name);
  if (kind === 'events') return [];
  const items = (await kinds[kind].list(api, { project, limit: mostNames })) as {
    id: string;
    name?: string;
  }[];
  return items.slice(0, mostNames).map((item) => item.name ?? item.id);
}
