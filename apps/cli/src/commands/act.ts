import { answer } from '@berth/client';
import { Option, type Command } from 'commander';
import { accept, type WaitOptions, waiting } from '../operation.js';
import { examples, ofInstance, wholeNumber, type Commands } from '../session.js';

const stopping: ReadonlySet<string> = new Set(['stop', 'restart']);

const verbs = {
  start: 'start instances; one that ended by itself runs again',
  stop: 'stop instances: the guest is asked, then forced',
  restart: 'stop and start instances',
  pause: 'pause virtual machines, which keep their memory',
  resume: 'let paused or suspended virtual machines go on',
  suspend: 'write the memory of virtual machines to disk and end their processes',
} as const;

interface StopOptions extends WaitOptions {
  readonly grace?: number;
  readonly force?: boolean;
}

const grace = (command: Command): Command =>
  command
    .option(
      '--grace <seconds>',
      'how long the guests get to end by themselves, also if they are being stopped already; as their specs say when left out',
      (text) => wholeNumber('--grace', text),
    )
    .addOption(new Option('--force', 'end them at once: as --grace 0').conflicts('grace'));

const graceOf = (options: StopOptions): { query?: { graceSeconds: number } } => {
  const graceSeconds = options.force === true ? 0 : options.grace;
  return graceSeconds === undefined ? {} : { query: { graceSeconds } };
};

export const actCommands: Commands = (program, session) => {
  const act = (verb: string, description: string, lines: string): void => {
    const command = waiting(program.command(`${verb} <name...>`)).description(description);
    if (stopping.has(verb)) grace(command);
    command.action(async (names: string[], options: StopOptions) => {
      const s = session();
      const path = '/v1/projects/{project}/instances/{name}/actions/{verb}';
      const ask = (name: string) => () =>
        answer(
          s.api.rest.POST(path, {
            params: { path: { project: s.project, name, verb }, ...graceOf(options) },
          }),
        );
      await accept(s, options, names.map(ask));
    });
    examples(command, lines);
  };
  for (const [verb, description] of Object.entries(verbs)) {
    const more = stopping.has(verb) ? `\nberth ${verb} db --grace 300\nberth ${verb} web --force` : '';
    act(verb, description, `berth ${verb} web\nberth ${verb} web db --no-wait${more}`);
  }
  act(
    'reset',
    'press the reset button of running VMs: what their guests have not written is lost',
    'berth reset db\nberth reset web db',
  );
  const freeze = waiting(program.command('freeze <name...>'))
    .description(
      'freeze the file systems of running VMs by their guest agents, so that their disks can be copied',
    )
    .option('--seconds <n>', 'thaw them after that, 60 at most', (t) => wholeNumber('--seconds', t), 10)
    .action(async (names: string[], options: WaitOptions & { seconds: number }) => {
      const s = session();
      const path = '/v1/projects/{project}/instances/{name}/actions/freeze';
      const body = { seconds: options.seconds };
      const ask = (name: string) => () =>
        answer(s.api.rest.POST(path, { params: ofInstance(s, name), body }));
      await accept(s, options, names.map(ask));
    });
  examples(freeze, 'berth freeze debian\nberth freeze debian --seconds 30');
  act('thaw', 'thaw the file systems of running VMs', 'berth thaw debian');
  const rebuild = waiting(program.command('rebuild <name...>'))
    .description('give instances new root disks: what is on the old ones is lost, all else stays')
    .option('--image <name>', 'of this image, not of the one they have')
    .action(async (names: string[], options: WaitOptions & { image?: string }) => {
      const s = session();
      const path = '/v1/projects/{project}/instances/{name}/actions/rebuild';
      const body = options.image === undefined ? {} : { image: options.image };
      const ask = (name: string) => () =>
        answer(s.api.rest.POST(path, { params: ofInstance(s, name), body }));
      await accept(s, options, names.map(ask));
    });
  examples(rebuild, 'berth rebuild web\nberth rebuild web db --image debian-13');
  const remove = grace(waiting(program.command('delete <name...>')))
    .description('delete instances with their root disks')
    .action(async (names: string[], options: StopOptions) => {
      const s = session();
      const path = '/v1/projects/{project}/instances/{name}';
      const ask = (name: string) => () =>
        answer(s.api.rest.DELETE(path, { params: { ...ofInstance(s, name), ...graceOf(options) } }));
      await accept(s, options, names.map(ask));
    });
  examples(remove, 'berth delete old\nberth delete old1 old2 --no-wait\nberth delete hung --force');
};
