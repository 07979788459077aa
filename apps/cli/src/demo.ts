import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { answer, ProblemError, type BerthClient, type Schemas } from '@berth/client';
import { exitCodes, Failure } from './failure.js';
import { fileDigest, imageImport, type ImageKind } from './image-file.js';
import { images, instances } from './kinds.js';
import { operationEnd, type Accepted } from './operation.js';
import { listText } from './output.js';
import { documentsParse } from './spec-file.js';

export interface DemoOptions {
  /** Where the API is, for people. */
  readonly address: string;
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
export async function demoRun(api: BerthClient, options: DemoOptions): Promise<void> {
  const begun = Date.now();
  const deadline = begun + options.timeoutSeconds * 1000;
  const images: string[] = [];
  for (const sample of samples) images.push(await sampleEnsure(api, options, sample));
  const runs = samples.map((sample, i) => oneRun(api, options, sample, images[i]!, deadline));
  for (const line of await Promise.all(runs)) say(line);
  const mine = await instances.list(api, { project: options.project, limit: Infinity });
  say(`\n${listText(mine, instances.columns, 'table')}`);
  say(
    `Done in ${((Date.now() - begun) / 1000).toFixed(1)} s. API: ${options.address} (OpenAPI at /v1/openapi.json)`,
  );
  say(`See:    ${options.address}/ui/ in a browser; ./berth sign-in gives a code for it`);
  say('Look:   ./berth get instances -o wide · ./berth logs web-vm · ./berth explain web-vm · virsh list');
  say('Stop:   ./berth down (instances run on) · ./berth down --instances stop (everything)');
}

/**
 * The sample as an image of the project; its name when it is new content, a name with the digest when the plain one
 * belongs to an older build (images are immutable).
 */
async function sampleEnsure(api: BerthClient, options: DemoOptions, sample: Sample): Promise<string> {
  const file = join(options.samples, sample.file);
  const digest = await fileDigest(file);
  const noted = await importedName(options, sample, digest);
  const have = await images.list(api, { project: options.project, limit: Infinity });
  const short = digest.slice('sha256:'.length, 'sha256:'.length + 12);
  // A name with the digest tells by itself what it was made of, also where another copy of this repository made it.
  const dated = `${sample.name}-${short}`;
  const known = have.find(
    (i) => i.name === noted || i.name === dated || (sample.kind === 'disk' && i.digest === digest),
  );
  if (known !== undefined) {
    say(`image ${known.name}: there already`);
    return known.name;
  }
  const name = have.some((i) => i.name === sample.name) ? dated : sample.name;
  const image = await imageImport(api, options.project, file, { name, kind: sample.kind });
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
  api: BerthClient,
  options: DemoOptions,
  sample: Sample,
  image: string,
  deadline: number,
): Promise<string> {
  const nonce = randomBytes(8).toString('hex');
  const file = join(options.examples, sample.example);
  const body = documentsParse(readFileSync(file, 'utf8').replaceAll('${NONCE}', nonce), file)[0] as Body;
  body.spec.image = image;
  const place = { project: options.project, name: body.name };
  const before = await instanceGet(api, place);
  say(
    before === null
      ? `${body.name}: creating, nonce ${nonce}`
      : `${body.name}: keeping its disk, restarting with nonce ${nonce}`,
  );
  const accepted = await (before === null
    ? answer(api.rest.POST('/v1/projects/{project}/instances', { params: { path: place }, body }))
    : updateAndRestart(api, place, before, body));
  await operationEnd(api, accepted.operation, {
    seconds: Math.max(1, Math.ceil((deadline - Date.now()) / 1000)),
    progress: say,
  });
  const line = await nonceLine(api, place, nonce, deadline);
  return `${body.name} (${sample.kind === 'disk' ? 'serial output' : 'log'}): ${line}`;
}

type Body = Schemas['InstanceCreate'];

interface Place {
  readonly project: string;
  readonly name: string;
}

async function instanceGet(api: BerthClient, place: Place): Promise<Schemas['Instance'] | null> {
  try {
    return await instances.get(api, place.project, place.name);
  } catch (error) {
    if (error instanceof ProblemError && error.status === 404) return null;
    throw error;
  }
}

/**
 * Keeps the image of the first run, since a root disk belongs to the image it was made from, and the wanted state, which
 * only actions change.
 */
async function updateAndRestart(
  api: BerthClient,
  place: Place,
  before: Schemas['Instance'],
  body: Body,
): Promise<Accepted> {
  const { image, desired } = before.spec;
  await answer(
    api.rest.PUT('/v1/projects/{project}/instances/{name}', {
      params: { path: place, header: { 'if-match': `"${before.resourceVersion}"` } },
      body: { spec: { ...body.spec, image, desired } },
    }),
  );
  const verb = desired === 'running' ? 'restart' : 'start';
  const path = '/v1/projects/{project}/instances/{name}/actions/{verb}';
  return answer(api.rest.POST(path, { params: { path: { ...place, verb } } }));
}

/** The line with the nonce, read from what the instance printed. @throws Failure with the end of the log */
async function nonceLine(api: BerthClient, place: Place, nonce: string, deadline: number): Promise<string> {
  let text = '';
  let why = '';
  while (Date.now() < deadline) {
    try {
      text = await new Response(
        await api.logs({ project: place.project, instance: place.name, tailBytes: 262_144 }),
      ).text();
      const line = text.split(/\r?\n/).find((l) => l.includes(`nonce=${nonce}`));
      if (line !== undefined) return line.trim();
    } catch (error) {
      // Until the instance has been started on its host there may be no log yet.
      if (!(error instanceof ProblemError)) throw error;
      why = error.message;
    }
    await sleep(200);
  }
  const end = text.split(/\r?\n/).slice(-15).join('\n    ');
  throw new Failure(
    `${place.name}: its nonce ${nonce} did not come back in time. ${why}\n    ${end}`,
    exitCodes.timeout,
  );
}
