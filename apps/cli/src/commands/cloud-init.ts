import { answer } from '@berth/client';
import { objectText } from '../output.js';
import { examples, ofInstance, say, type Commands } from '../session.js';
import { plainText } from '../terminal.js';

export const cloudInitCommands: Commands = (program, session) => {
  const command = program
    .command('cloud-init <name>')
    .description('what cloud-init in a VM was given at its last start: user data, network')
    .action(async (name: string) => {
      const s = session();
      const path = '/v1/projects/{project}/instances/{name}/cloudInit';
      const seed = await answer(s.api.rest.GET(path, { params: ofInstance(s, name) }));
      if (s.format === 'json' || s.format === 'yaml') return say(objectText(seed, s.format));
      const files: [string, string | null][] = [
        ['meta-data', seed.metaData],
        ['user-data', seed.userData],
        ['vendor-data', seed.vendorData],
        ['network-config', seed.networkConfig],
      ];
      for (const [file, text] of files) if (text !== null) say(`--- ${file}\n${plainText(text)}`);
    });
  examples(
    command,
    `berth cloud-init debian
     berth cloud-init debian -o json`,
  );
};
