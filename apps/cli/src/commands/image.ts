import { Option } from 'commander';
import { answer } from '@berth/client';
import { imageImport, kindGuess, type ImageKind } from '../image-file.js';
import { images } from '../kinds.js';
import { listText, objectText } from '../output.js';
import { examples, ofInstance, say, type Commands } from '../session.js';
import { uploadProgress } from '../upload-progress.js';

export const imageCommands: Commands = (program, session) => {
  const image = program.command('image').description('images of the project');
  examples(image, 'berth image ls\nberth image import --help');
  const importing = image
    .command('import <file>')
    .description('import an OCI archive or a disk')
    .requiredOption('--name <name>', 'name of the image')
    .addOption(
      new Option('--kind <kind>', 'guessed by the first bytes when absent').choices(['oci', 'disk'] as const),
    )
    .action(async (file: string, options: { name: string; kind?: ImageKind }) => {
      const s = session();
      const kind = options.kind ?? (await kindGuess(file));
      const progress = uploadProgress(process.stderr, () => performance.now());
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
     berth image import busybox.oci.tar --name busybox2 --kind oci`,
  );
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
