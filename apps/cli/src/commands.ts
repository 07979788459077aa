import type { Command } from 'commander';
import type { Decision, Event, Host, Instance, Operation } from '@berth/model';
import type { Connection } from './connection.js';
import { decisionText, explanationText, type Explanation } from './explain.js';
import { exitCodes, Failure } from './failure.js';
import { imageImport, kindGuess } from './image-file.js';
import { kindName, kinds, objectPath, objectsOf, type Kind } from './kinds.js';
import { operationEnd, type Accepted } from './operation.js';
import { listText, objectText, type Column, type Format } from './output.js';
import { fileRead, valueSet } from './spec-file.js';

/** What every command gets from the options before it. */
export interface Session {
  readonly api: Connection;
  readonly project: string;
  readonly format: Format;
}

const say = (text: string): void => void process.stdout.write(text);
const instancePath = (s: Session, name: string): string => objectPath('instances', s.project, name);

export function readCommands(program: Command, session: () => Session): void {
  program
    .command('get <kind> [name]')
    .description(`list objects or show one: ${Object.keys(kinds).join(', ')}`)
    .option('--limit <n>', 'of operations and events, the newest', (t) => wholeNumber('--limit', t), 50)
    .action(async (text: string, name: string | undefined, options: { limit: number }) => {
      const s = session();
      const kind = kindName(text);
      if (kind === null)
        throw new Failure(
          `there is no kind ${text}; known are ${Object.keys(kinds).join(', ')}`,
          exitCodes.usage,
        );
      const items =
        name === undefined
          ? await objectsOf(s.api, kind, s.project, options.limit)
          : [await s.api.get(objectPath(kind, s.project, name))];
      const { columns } = kinds[kind] as Kind<unknown> & { columns: readonly Column<unknown>[] };
      say(
        name !== undefined && s.format !== 'table' && s.format !== 'wide'
          ? objectText(items[0], s.format)
          : listText(items, columns, s.format),
      );
    });
  program
    .command('describe <kind> <name>')
    .description('everything about one object; of an instance also its newest decision and events')
    .action(async (text: string, name: string) => {
      const s = session();
      const kind = kindName(text);
      if (kind === null || kind === 'events')
        throw new Failure(`${text} cannot be described`, exitCodes.usage);
      const object = await s.api.get<Instance>(objectPath(kind, s.project, name));
      say(objectText(object, s.format));
      if (kind === 'instances' && s.format !== 'json') say(await instanceStory(s, object));
    });
  program
    .command('explain <name>')
    .description('why an instance is where it is, or still waits')
    .option('--host <host>', 'judge this host, as of now')
    .option('--now', 'judge every host anew instead of showing the stored decision')
    .action(async (name: string, options: { host?: string; now?: boolean }) => {
      const s = session();
      if (options.host === undefined && options.now !== true) {
        const decision = await s.api.get<Decision>(`${instancePath(s, name)}/decision`);
        say(s.format === 'table' ? decisionText(decision) : objectText(decision, s.format));
        return;
      }
      const explanation = await s.api.get<Explanation>(`${instancePath(s, name)}/explain`, {
        host: options.host,
      });
      say(s.format === 'table' ? explanationText(explanation) : objectText(explanation, s.format));
    });
  program
    .command('logs <name>')
    .description('what an instance printed: serial output of a VM, output of a container')
    .option('-f, --follow', 'go on with what comes', false)
    .option('--tail-bytes <n>', 'begin this many bytes before the end', (t) => wholeNumber('--tail-bytes', t))
    .action(async (name: string, options: { follow: boolean; tailBytes?: number }) => {
      const s = session();
      const query = { follow: options.follow, tailBytes: options.tailBytes };
      for await (const chunk of await s.api.stream(`${instancePath(s, name)}/logs`, { query }))
        process.stdout.write(chunk);
    });
}

async function instanceStory(s: Session, instance: Instance): Promise<string> {
  const decision = await s.api.get<Decision>(`${instancePath(s, instance.name)}/decision`).catch(() => null);
  const events = await s.api.get<{ items: Event[] }>('/v1/events', {
    project: s.project,
    objectKind: 'instance',
    objectId: instance.id,
    limit: 1000,
  });
  const story = listText(events.items.slice(-20), kinds.events.columns, 'table');
  return `\nDecision: ${decision === null ? 'none yet\n' : decisionText(decision)}\nEvents:\n${story}`;
}

export function writeCommands(program: Command, session: () => Session): void {
  const waiting = (c: Command): Command =>
    c
      .option('--no-wait', 'return when the request is recorded')
      .option('--timeout <seconds>', 'longest wait', (t) => wholeNumber('--timeout', t), 120);
  waiting(program.command('create'))
    .description('create an instance from a YAML or JSON file')
    .requiredOption('-f, --file <file>', 'body: name, labels, spec; - is the standard input')
    .option(
      '--set <field=value>',
      'change a field of the file, for example spec.process.env.NONCE=x',
      append,
      [],
    )
    .action(async (options: WaitOptions & { file: string; set: string[] }) => {
      const s = session();
      const body = fileRead(options.file);
      for (const assignment of options.set) valueSet(body, assignment);
      const accepted = await s.api.mutate<Accepted>('POST', kinds.instances.path(s.project), { body });
      await finish(s, accepted, options);
    });
  for (const verb of ['start', 'stop', 'restart', 'pause', 'resume'] as const)
    waiting(program.command(`${verb} <name...>`))
      .description(`${verb} instances`)
      .action(async (names: string[], options: WaitOptions) => {
        const s = session();
        for (const name of names) {
          const accepted = await s.api.mutate<Accepted>('POST', `${instancePath(s, name)}/actions/${verb}`);
          await finish(s, accepted, options);
        }
      });
  waiting(program.command('delete <name...>'))
    .description('delete instances with their root disks')
    .action(async (names: string[], options: WaitOptions) => {
      const s = session();
      for (const name of names)
        await finish(s, await s.api.mutate<Accepted>('DELETE', instancePath(s, name)), options);
    });
}

interface WaitOptions {
  readonly wait: boolean;
  readonly timeout: number;
}

async function finish(s: Session, accepted: Accepted, options: WaitOptions): Promise<void> {
  const { operation } = accepted;
  const end: Operation = options.wait ? await operationEnd(s.api, operation, options.timeout) : operation;
  if (s.format === 'json' || s.format === 'yaml') say(objectText({ ...accepted, operation: end }, s.format));
  else
    say(
      `${end.target.name}: ${end.kind} ${end.state === 'pending' ? 'recorded' : end.state} (operation ${end.id})\n`,
    );
}

export function adminCommands(program: Command, session: () => Session): void {
  const image = program.command('image').description('images of the project');
  image
    .command('import <file>')
    .description('import an OCI archive or a disk')
    .requiredOption('--name <name>', 'name of the image')
    .option('--kind <kind>', 'oci or disk; guessed by the first bytes when absent')
    .action(async (file: string, options: { name: string; kind?: string }) => {
      const s = session();
      const kind = options.kind ?? kindGuess(file);
      if (kind !== 'oci' && kind !== 'disk') throw new Failure('--kind is oci or disk', exitCodes.usage);
      const made = await imageImport(s.api, s.project, file, options.name, kind);
      say(s.format === 'table' ? `${made.name}: ${made.kind}, ${made.digest}\n` : objectText(made, s.format));
    });
  image
    .command('delete <name>')
    .description('delete an image that no instance uses')
    .action(async (name: string) => {
      const s = session();
      await s.api.mutate('DELETE', objectPath('images', s.project, name));
    });
  const host = program.command('host').description('hosts of the cluster');
  host
    .command('ls')
    .description('list hosts')
    .action(async () => {
      const s = session();
      say(listText(await s.api.list<Host>(kinds.hosts.path(s.project)), kinds.hosts.columns, s.format));
    });
  for (const [verb, schedulable] of [
    ['cordon', false],
    ['uncordon', true],
  ] as const)
    host
      .command(`${verb} <name>`)
      .description(
        schedulable
          ? 'let the scheduler place new instances here again'
          : 'place nothing new here; what runs stays',
      )
      .action(async (name: string) => {
        const s = session();
        await s.api.mutate('PATCH', objectPath('hosts', s.project, name), { body: { schedulable } });
      });
  program
    .command('token')
    .description('API tokens')
    .command('create <name>')
    .description('create a token; its secret is shown once')
    .requiredOption('--role <role>', 'admin, operator or viewer')
    .option('--cluster', 'for every project and the cluster, not only for --project')
    .option('--expires-in <seconds>', 'life of the token', (t) => wholeNumber('--expires-in', t))
    .action(async (name: string, options: { role: string; cluster?: boolean; expiresIn?: number }) => {
      const s = session();
      const body = {
        name,
        role: options.role,
        project: options.cluster === true ? null : s.project,
        ...(options.expiresIn === undefined ? {} : { expiresInSeconds: options.expiresIn }),
      };
      secretShow(s, await s.api.mutate('POST', '/v1/tokens', { body }));
    });
  program
    .command('join-token')
    .description('tokens with which hosts join')
    .command('create')
    .description('create a single-use join token')
    .option('--host <name>', 'admit only a host of this name')
    .option('--expires-in <seconds>', 'life of the token', (t) => wholeNumber('--expires-in', t))
    .action(async (options: { host?: string; expiresIn?: number }) => {
      const body = {
        hostName: options.host ?? null,
        ...(options.expiresIn === undefined ? {} : { expiresInSeconds: options.expiresIn }),
      };
      const s = session();
      secretShow(s, await s.api.mutate('POST', '/v1/join-tokens', { body }));
    });
}

function secretShow(s: Session, made: { secret: string | null; expiresAt: string | null }): void {
  if (s.format !== 'table') return say(objectText(made, s.format));
  process.stderr.write(`valid until ${made.expiresAt ?? 'revoked'}; shown only now:\n`);
  say(`${made.secret ?? ''}\n`);
}

export function wholeNumber(option: string, text: string): number {
  if (!/^\d{1,15}$/.test(text))
    throw new Failure(`${option} is a whole number, not ${text}`, exitCodes.usage);
  return Number(text);
}

const append = (value: string, before: string[]): string[] => [...before, value];
