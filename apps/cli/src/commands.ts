import type { Command } from 'commander';
import { answer, ProblemError, type BerthClient, type Schemas } from '@berth/client';
import { decisionText, explanationText } from './explain.js';
import { exitCodes, Failure } from './failure.js';
import { imageImport, kindGuess } from './image-file.js';
import { kindName, kinds, type Kind } from './kinds.js';
import { operationEnd, type Accepted } from './operation.js';
import { listText, objectText, type Column, type Format } from './output.js';
import { fileRead, valueSet } from './spec-file.js';

/** What every command gets from the options before it. */
export interface Session {
  readonly api: BerthClient;
  readonly project: string;
  readonly format: Format;
}

const say = (text: string): void => void process.stdout.write(text);
const inProject = (s: Session) => ({ path: { project: s.project } });
const ofInstance = (s: Session, name: string) => ({ path: { project: s.project, name } });

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
      const { columns, list, get } = kinds[kind] as Kind<unknown> & { columns: readonly Column<unknown>[] };
      const items =
        name === undefined
          ? await list(s.api, { project: s.project, limit: options.limit })
          : [await get(s.api, s.project, name)];
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
      const object = await kinds[kind].get(s.api, s.project, name);
      say(objectText(object, s.format));
      if (kind === 'instances' && s.format === 'table') say(await instanceStory(s, name, object.id));
    });
  program
    .command('explain <name>')
    .description('why an instance is where it is, or still waits')
    .option('--host <host>', 'judge this host, as of now')
    .option('--now', 'judge every host anew instead of showing the stored decision')
    .action(async (name: string, options: { host?: string; now?: boolean }) => {
      const s = session();
      if (options.host === undefined && options.now !== true) {
        const path = '/v1/projects/{project}/instances/{name}/decision';
        const decision = await answer(s.api.rest.GET(path, { params: ofInstance(s, name) }));
        say(s.format === 'table' ? decisionText(decision) : objectText(decision, s.format));
        return;
      }
      const query = options.host === undefined ? {} : { host: options.host };
      const path = '/v1/projects/{project}/instances/{name}/explain';
      const explanation = await answer(s.api.rest.GET(path, { params: { ...ofInstance(s, name), query } }));
      say(s.format === 'table' ? explanationText(explanation) : objectText(explanation, s.format));
    });
  program
    .command('logs <name>')
    .description('what an instance printed: serial output of a VM, output of a container')
    .option('-f, --follow', 'go on with what comes', false)
    .option('--tail-bytes <n>', 'begin this many bytes before the end', (t) => wholeNumber('--tail-bytes', t))
    .action(async (name: string, options: { follow: boolean; tailBytes?: number }) => {
      const s = session();
      const log = await s.api.logs({ project: s.project, instance: name, ...options });
      for await (const chunk of log) process.stdout.write(chunk);
    });
}

async function instanceStory(s: Session, name: string, id: string): Promise<string> {
  const path = '/v1/projects/{project}/instances/{name}/decision';
  const decision = await answer(s.api.rest.GET(path, { params: ofInstance(s, name) })).catch(
    (error: unknown) => {
      if (error instanceof ProblemError && error.status === 404) return null;
      throw error;
    },
  );
  const query = { project: s.project, objectKind: 'instance', objectId: id, limit: 1000 };
  const events = (await s.api.eventList(query)).items;
  const story = listText(events.slice(-20), kinds.events.columns, 'table');
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
      const body = fileRead(options.file) as Schemas['InstanceCreate'];
      for (const assignment of options.set) valueSet(body, assignment);
      const path = '/v1/projects/{project}/instances';
      const accepted = await answer(s.api.rest.POST(path, { params: inProject(s), body }));
      await finish(s, accepted, options);
    });
  for (const verb of ['start', 'stop', 'restart', 'pause', 'resume'] as const)
    waiting(program.command(`${verb} <name...>`))
      .description(`${verb} instances`)
      .action(async (names: string[], options: WaitOptions) => {
        const s = session();
        for (const name of names) {
          const path = '/v1/projects/{project}/instances/{name}/actions/{verb}';
          const params = { path: { project: s.project, name, verb } };
          await finish(s, await answer(s.api.rest.POST(path, { params })), options);
        }
      });
  waiting(program.command('delete <name...>'))
    .description('delete instances with their root disks')
    .action(async (names: string[], options: WaitOptions) => {
      const s = session();
      const path = '/v1/projects/{project}/instances/{name}';
      for (const name of names)
        await finish(s, await answer(s.api.rest.DELETE(path, { params: ofInstance(s, name) })), options);
    });
}

interface WaitOptions {
  readonly wait: boolean;
  readonly timeout: number;
}

async function finish(s: Session, accepted: Accepted, options: WaitOptions): Promise<void> {
  const { operation } = accepted;
  const progress = (line: string): void => void process.stderr.write(`${line}\n`);
  const end = options.wait
    ? await operationEnd(s.api, operation, { seconds: options.timeout, progress })
    : operation;
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
      const kind = options.kind ?? (await kindGuess(file));
      if (kind !== 'oci' && kind !== 'disk') throw new Failure('--kind is oci or disk', exitCodes.usage);
      const made = await imageImport(s.api, s.project, file, options.name, kind);
      say(s.format === 'table' ? `${made.name}: ${made.kind}, ${made.digest}\n` : objectText(made, s.format));
    });
  image
    .command('delete <name>')
    .description('delete an image that no instance uses')
    .action(async (name: string) => {
      const s = session();
      const path = '/v1/projects/{project}/images/{name}';
      await answer(s.api.rest.DELETE(path, { params: ofInstance(s, name) }));
      say(`${name}: deleted\n`);
    });
  const host = program.command('host').description('hosts of the cluster');
  host
    .command('ls')
    .description('list hosts')
    .action(async () => {
      const s = session();
      const hosts = await kinds.hosts.list(s.api, { project: s.project, limit: Infinity });
      say(listText(hosts, kinds.hosts.columns, s.format));
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
        const params = { path: { host: name } };
        await answer(s.api.rest.PATCH('/v1/hosts/{host}', { params, body: { schedulable } }));
        say(`${name}: ${schedulable ? 'schedulable' : 'cordoned; what runs stays'}\n`);
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
      secretShow(s, await answer(s.api.rest.POST('/v1/tokens', { body: body as Schemas['TokenCreate'] })));
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
      secretShow(s, await answer(s.api.rest.POST('/v1/join-tokens', { body })));
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
