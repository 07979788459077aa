import { Option } from 'commander';
import { answer } from '@berth/client';
import { projects } from '../kinds.js';
import { listText, objectText } from '../output.js';
import { examples, say, type Commands } from '../session.js';

type OnOff = 'on' | 'off';

export const projectCommands: Commands = (program, session) => {
  const project = program.command('project').description('projects');
  examples(project, 'berth project ls');
  const list = project
    .command('ls')
    .description('list the projects that this token may see')
    .action(async () => {
      const s = session();
      const all = await projects.list(s.api, { project: s.project, limit: Infinity });
      say(listText(all, projects.columns, s.format));
    });
  examples(list, 'berth project ls\nberth project ls -o json');
  const create = project
    .command('create <name>')
    .description('create a project, with a network and a pool called default')
    .action(async (name: string) => {
      const s = session();
      const made = await answer(s.api.rest.POST('/v1/projects', { body: { name } }));
      say(s.format === 'table' ? `${made.name}: created\n` : objectText(made, s.format));
    });
  examples(create, 'berth project create shop');
  const onOff = (option: string, words: string) => new Option(option, words).choices(['on', 'off'] as const);
  const set = project
    .command('set <name>')
    .description('change the settings of a project')
    .addOption(onOff('--image-redirects <on|off>', 'whether imports by URL follow redirects'))
    .addOption(
      onOff(
        '--image-private-addresses <on|off>',
        'whether they reach loopback, private and other such addresses',
      ),
    )
    .action(async (name: string, options: { imageRedirects?: OnOff; imagePrivateAddresses?: OnOff }) => {
      const s = session();
      const { imageRedirects: redirects, imagePrivateAddresses: privateAddresses } = options;
      const imageSources = {
        ...(redirects === undefined ? {} : { redirects: redirects === 'on' }),
        ...(privateAddresses === undefined ? {} : { privateAddresses: privateAddresses === 'on' }),
      };
      const params = { path: { project: name } };
      const made = await answer(
        s.api.rest.PATCH('/v1/projects/{project}', { params, body: { imageSources } }),
      );
      say(s.format === 'table' ? `${made.name}: changed\n` : objectText(made, s.format));
    });
  examples(
    set,
    'berth project set alpha --image-private-addresses on\nberth project set alpha --image-redirects on -o json',
  );
};
