import { answer } from '@berth/client';
import { projects } from '../kinds.js';
import { listText, objectText } from '../output.js';
import { examples, say, type Commands } from '../session.js';

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
};
