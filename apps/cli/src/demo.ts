import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Image, ImageKind, Instance } from '@berth/model';
import type { Connection } from './connection.js';
import { exitCodes, Failure, ProblemFailure } from './failure.js';
import { fileDigest, imageImport } from './image-file.js';
import { instances } from './kinds.js';
import { operationEnd, type Accepted } from './operation.js';
import { listText } from './output.js';
import { documentParse } from './spec-file.js';

export interface DemoOptions {
  readonly project: string;
  /** Directory of the built sample images. */
  readonly samples: string;
  /** Directory of the example bodies. */
  readonly examples: string;
  readonly timeoutSeconds: number;
}

interface Sample {
  readonly file: string;
  readonly name: string;
  readonly kind: ImageKind;
  readonly example: string;
}

const samples: readonly Sample[] = [
  { file: 'tiny.qcow2', name: 'tiny', kind: 'disk', example: 'vm.yaml' },
  { file: 'busybox.oci.tar', name: 'busybox', kind: 'oci', example: 'container.yaml' },
];

const say = (line: string): void => void process.stdout.write(`${line}\n`);

/**
 * One VM and one container from the examples, each with a new nonce, until each nonce came back from the inside.
 * A second run keeps the instances and their disks: they get the new nonce and are restarted.
 */
export async function demoRun(api: Connection, options: DemoOptions): Promise<void> {
  const begun = Date.now();
  const deadline = begun + options.timeoutSeconds * 1000;
  const images: string[] = [];
  for (const sample of samples) images.push(await sampleEnsure(api, options, sample));
  const runs = samples.map((sample, i) => oneRun(api, options, sample, images[i]!, deadline));
  for (const line of await Promise.all(runs)) say(line);
  const mine = await api.list<Instance>(instances.path(options.project));
  say(`\n${listText(mine, instances.columns, 'table')}`);
  say(
    `Done in ${((Date.now() - begun) / 1000).toFixed(1)} s. API: ${api.target.base} (OpenAPI at /v1/openapi.json)`,
  );
  say('Look:   ./berth get instances -o wide · ./berth logs web-vm · ./berth explain web-vm · virsh list');
  say('Stop:   ./berth down (instances run on) · ./berth down --instances stop (everything)');
}

/**
 * The sample as an image of the project; its name when it is new content, a name with the digest when the plain one
 * belongs to an older build (images are immutable).
 */
async function sampleEnsure(api: Connection, options: DemoOptions, sample: Sample): Promise<string> {
  const file = join(options.samples, sample.file);
  const digest = await fileDigest(file);
  const noted = await importedName(options, sample, digest);
  const have = await api.list<Image>(`/v1/projects/${encodeURIComponent(options.project)}/images`);
  const known = have.find((i) => i.name === noted || (sample.kind === 'disk' && i.digest === digest));
  if (known !== undefined) {
    say(`image ${known.name}: there already`);
    return known.name;
  }
  const short = digest.slice('sha256:'.length, 'sha256:'.length + 12);
  const name = have.some((i) => i.name === sample.name) ? `${sample.name}-${short}` : sample.name;
  const image = await imageImport(api, options.project, file, name, sample.kind);
  say(`image ${name}: imported, ${image.digest}`);
  await noteImported(options, sample, digest, name);
  return name;
}

// An OCI image's digest is that of its manifest, not of the archive: which archive became which image is noted here.
const noteFile = (options: DemoOptions, sample: Sample): string =>
  join(options.samples, '.imported', `${options.project}-${sample.name}.json`);

async function importedName(options: DemoOptions, sample: Sample, digest: string): Promise<string | null> {
  try {
    const note = JSON.parse(await readFile(noteFile(options, sample), 'utf8')) as {
      digest: string;
      name: string;
    };
    return note.digest === digest ? note.name : null;
  } catch {
    return null;
  }
}

async function noteImported(
  options: DemoOptions,
  sample: Sample,
  digest: string,
  name: string,
): Promise<void> {
  await mkdir(join(options.samples, '.imported'), { recursive: true });
  await writeFile(noteFile(options, sample), JSON.stringify({ digest, name }));
}

async function oneRun(
  api: Connection,
  options: DemoOptions,
  sample: Sample,
  image: string,
  deadline: number,
): Promise<string> {
  const nonce = randomBytes(8).toString('hex');
  const file = join(options.examples, sample.example);
  const body = documentParse(readFileSync(file, 'utf8').replaceAll('${NONCE}', nonce), file) as {
    name: string;
    spec: { image: string };
  };
  body.spec.image = image;
  const path = `${instances.path(options.project)}/${body.name}`;
  const before = await instanceGet(api, path);
  say(
    before === null
      ? `${body.name}: creating, nonce ${nonce}`
      : `${body.name}: keeping its disk, restarting with nonce ${nonce}`,
  );
  const accepted = await (before === null
    ? api.mutate<Accepted>('POST', instances.path(options.project), { body })
    : updateAndRestart(api, path, before, body));
  await operationEnd(api, accepted.operation, Math.max(1, Math.ceil((deadline - Date.now()) / 1000)));
  const line = await nonceLine(api, path, body.name, nonce, deadline);
  return `${body.name} (${sample.kind === 'disk' ? 'serial output' : 'log'}): ${line}`;
}

async function instanceGet(api: Connection, path: string): Promise<Instance | null> {
  try {
    return await api.get<Instance>(path);
  } catch (error) {
    if (error instanceof ProblemFailure && error.problem.status === 404) return null;
    throw error;
  }
}

/**
 * Keeps the image of the first run, since a root disk belongs to the image it was made from, and the wanted state, which
 * only actions change.
 */
async function updateAndRestart(
  api: Connection,
  path: string,
  before: Instance,
  body: { spec: { image: string } },
): Promise<Accepted> {
  const { image, desired } = before.spec;
  const spec = { ...body.spec, image, desired };
  await api.mutate<Accepted>('PUT', path, {
    body: { spec },
    headers: { 'if-match': `"${before.resourceVersion}"` },
  });
  return api.mutate<Accepted>('POST', `${path}/actions/${desired === 'running' ? 'restart' : 'start'}`);
}

/** The line with the nonce, read from what the instance printed. @throws Failure with the end of the log */
async function nonceLine(
  api: Connection,
  path: string,
  name: string,
  nonce: string,
  deadline: number,
): Promise<string> {
  let text = '';
  let why = '';
  while (Date.now() < deadline) {
    try {
      text = await new Response(await api.stream(`${path}/logs`, { query: { tailBytes: 262_144 } })).text();
      const line = text.split(/\r?\n/).find((l) => l.includes(`nonce=${nonce}`));
      if (line !== undefined) return line.trim();
    } catch (error) {
      // Until the instance has been started on its host there may be no log yet.
      if (!(error instanceof ProblemFailure)) throw error;
      why = error.message;
    }
    await sleep(200);
  }
  const end = text.split(/\r?\n/).slice(-15).join('\n    ');
  throw new Failure(
    `${name}: its nonce ${nonce} did not come back in time. ${why}\n    ${end}`,
    exitCodes.timeout,
  );
}
