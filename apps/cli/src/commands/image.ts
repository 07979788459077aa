import { Option } from 'commander';
import { answer, type Schemas } from '@berth/client';
import { exitCodes, Failure } from '../failure.js';
import { imageImport, kindByEnding, kindGuess, type ImageKind } from '../image-file.js';
import { images } from '../kinds.js';
import { endText, operationEnd, type WaitOptions, waiting } from '../operation.js';
import { listText, objectText } from '../output.js';
import {
  examples,
  inProject,
  note,
  ofInstance,
  say,
  wholeNumber,
  type Commands,
  type Session,
} from '../session.js';
import { imageExportCommand } from './image-export.js';
import { imageLayerCommands } from './image-layers.js';
import { secretFromStdin } from '../stdin-secret.js';
import { transferProgress } from '../transfer-progress.js';

interface ImportOptions extends WaitOptions {
  readonly name: string;
  readonly kind?: ImageKind;
  readonly sha256?: string;
  readonly username?: string;
  readonly passwordStdin?: boolean;
}

/** How a source is written that is an image in a registry: as for skopeo and podman. */
const registryScheme = 'docker://';

/** What of the API's request says where the image is. @throws Failure for options that are not for this source */
async function sourceOf(source: string, options: ImportOptions): Promise<RemoteSource> {
  const { sha256, username, passwordStdin } = options;
  if (!source.startsWith(registryScheme)) {
    if (username !== undefined || passwordStdin !== undefined)
      throw new Failure(`--username and --password-stdin are for ${registryScheme}`, exitCodes.usage);
    return { kind: kindByEnding(source), url: source, ...(sha256 === undefined ? {} : { sha256 }) };
  }
  if (sha256 !== undefined)
    throw new Failure('--sha256 is for files; end the reference with @sha256:…', exitCodes.usage);
  return {
    kind: 'oci',
    registry: { reference: source.slice(registryScheme.length), ...(await signIn(options)) },
  };
}

interface SignIn {
  readonly username?: string;
  readonly passwordStdin?: boolean;
}

/** Who signs in at a registry; nobody where it is not said. @throws Failure */
async function signIn({
  username,
  passwordStdin,
}: SignIn): Promise<{ username: string; password: string } | undefined> {
  if ((username === undefined) !== (passwordStdin === undefined))
    throw new Failure('--username and --password-stdin go together', exitCodes.usage);
  return username === undefined ? undefined : { username, password: await secretFromStdin() };
}

type RemoteSource = Omit<Schemas['ImageImport'], 'name'>;

/** Has the API download an image; waits for it, and tells how far it is. */
async function remoteImport(s: Session, source: string, options: ImportOptions): Promise<void> {
  const { name } = options;
  const from = await sourceOf(source, options);
  const body = { ...from, name, kind: options.kind ?? from.kind };
  const path = '/v1/projects/{project}/images/import';
  const { operation } = await answer(s.api.rest.POST(path, { params: inProject(s), body }));
  if (!options.wait) return say(s.format === 'table' ? endText(operation) : objectText(operation, s.format));
  await operationEnd(s.api, operation, { seconds: options.timeout, progress: note });
  const made = await images.get(s.api, s.project, name);
  say(s.format === 'table' ? `${made.name}: ${made.kind}, ${made.digest}\n` : objectText(made, s.format));
}

export const imageCommands: Commands = (program, session) => {
  const image = program.command('image').description('images of the project');
  examples(image, 'berth image ls\nberth image import --help');
  const importing = image
    .command('import <source>')
    .description(
      'import an OCI archive, a disk or an ISO, from a file, an address (http, https) or a registry (docker://)',
    )
    .requiredOption('--name <name>', 'name of the image')
    .addOption(
      new Option(
        '--kind <kind>',
        'guessed when absent: by the first bytes, of an address by its ending',
      ).choices(['oci', 'disk', 'iso'] as const),
    )
    .option('--sha256 <digest>', 'of the file at an address: another one is refused')
    .option('--username <name>', 'at a registry')
    .option('--password-stdin', 'at a registry: the password, or a token, comes by standard input')
    .option('--no-wait', 'not for files: return when the request is recorded')
    .option('--timeout <seconds>', 'not for files: longest wait', (t) => wholeNumber('--timeout', t), 3600)
    .action(async (file: string, options: ImportOptions) => {
      const s = session();
      if (/^https?:/i.test(file) || file.startsWith(registryScheme)) return remoteImport(s, file, options);
      if (options.username !== undefined || options.passwordStdin !== undefined)
        throw new Failure(`--username and --password-stdin are for ${registryScheme}`, exitCodes.usage);
      if (options.sha256 !== undefined)
        throw new Failure('--sha256 is for addresses; a file is sent as it is', exitCodes.usage);
      const kind = options.kind ?? (await kindGuess(file));
      const progress = transferProgress(process.stderr, () => performance.now(), 'sent, being verified');
      const made = await imageImport(
        s.api,
        s.project,
        file,
        { name: options.name, kind },
        progress.sent,
      ).finally(progress.end);
      say(s.format === 'table' ? `${made.name}: ${made.kind}, ${made.digest}\n` : objectText(made, s.format));
    });
  examples(
    importing,
    `berth image import disk.qcow2 --name debian
     berth image import busybox.oci.tar --name busybox2 --kind oci
     berth image import "$IMAGE_URL" --name far --kind disk
     berth image import netinst.iso --name netinst
     berth image import docker://$REGISTRY/shop/web:1.4 --name shop-web
     berth image import docker://$REGISTRY/shop/web:1.4 --name private --username me --password-stdin <token`,
  );
  const push = waiting(image.command('push <name> <reference>'))
    .description('push an image of containers to a registry (docker://host/repository:tag)')
    .option('--username <name>', 'who signs in, in place of what the project keeps')
    .option('--password-stdin', 'the password, or a token, comes by standard input')
    .action(async (name: string, reference: string, options: WaitOptions & SignIn) => {
      const s = session();
      const to = reference.startsWith(registryScheme) ? reference.slice(registryScheme.length) : reference;
      const body = { reference: to, ...(await signIn(options)) };
      const path = '/v1/projects/{project}/images/{name}/actions/push';
      const { operation } = await answer(s.api.rest.POST(path, { params: ofInstance(s, name), body }));
      if (!options.wait)
        return say(s.format === 'table' ? endText(operation) : objectText(operation, s.format));
      const end = await operationEnd(s.api, operation, { seconds: options.timeout, progress: note });
      say(s.format === 'table' ? `${name}: pushed to ${to}\n` : objectText(end, s.format));
    });
  examples(
    push,
    `berth image push shop-base docker://$REGISTRY_TO/shop/web:1.5
     berth image push shop-base docker://$REGISTRY_TO/shop/web:1.6 --username me --password-stdin <token`,
  );
  imageExportCommand(image, session);
  imageLayerCommands(image, session);
  const list = image
    .command('ls')
    .description('list images')
    .action(async () => {
      const s = session();
      const all = await images.list(s.api, { project: s.project, limit: Infinity });
      say(listText(all, images.columns, s.format));
    });
  examples(list, 'berth image ls\nberth image ls -o wide');
  const remove = image
    .command('rm <name>')
    .description('delete an image that no instance uses')
    .action(async (name: string) => {
      const s = session();
      const path = '/v1/projects/{project}/images/{name}';
      await answer(s.api.rest.DELETE(path, { params: ofInstance(s, name) }));
      say(`${name}: deleted\n`);
    });
  examples(remove, 'berth image rm unused');
};
