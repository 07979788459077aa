import { randomUUID } from 'node:crypto';
import { exitCodes, Failure } from '../failure.js';
import { download, toStdout } from '../file-download.js';
import { fileDigest } from '../image-file.js';
import { images } from '../kinds.js';
import { bytes, objectText } from '../output.js';
import { examples, say, type Commands } from '../session.js';
import { isTerminal } from '../terminal.js';

export const imageExportCommand: Commands = (image, session) => {
  const command = image
    .command('export <name>')
    .description(
      'download an image as a file: one of containers as a tar that Docker, Podman, skopeo and umoci load, a disk or an ISO as it is',
    )
    .option('-f, --file <path>', "where it goes, - for the standard output; the image's name unless said")
    .action(async (name: string, options: { readonly file?: string }) => {
      const s = session();
      const found = await images.get(s.api, s.project, name);
      const { content } = found;
      const ending = content.kind === 'oci' ? 'tar' : content.kind === 'iso' ? 'iso' : content.format;
      const to = options.file ?? `${found.name}.${ending}`;
      if (to === toStdout && isTerminal(process.stdout))
        throw new Failure(
          'an image is nothing for a terminal\n  -> Name a file with --file',
          exitCodes.usage,
        );
      const size = await download({
        open: (from, tag) => s.api.imageRead({ project: s.project, image: name, from, tag }),
        to,
        mark: randomUUID().slice(0, 8),
        // Of an archive every loader looks at the digests of its parts.
        ...(content.kind === 'oci' ? {} : { check: (file: string) => refuseOther(file, found.digest) }),
      });
      if (to === toStdout) return;
      say(s.format === 'table' ? `${to}: ${bytes(size)}\n` : objectText(found, s.format));
    });
  examples(
    command,
    `berth image export shop-base
     berth image export shop-base --file base.tar
     berth image export shop-base --file - | tar -t`,
  );
};

/** @throws Failure */
async function refuseOther(file: string, digest: string): Promise<void> {
  if ((await fileDigest(file)) !== digest)
    throw new Failure(`what came is not the image: its sha256 is another one\n  -> Export it again`);
}
