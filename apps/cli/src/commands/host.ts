import { answer } from '@berth/client';
import { Option } from 'commander';
import { exitCodes, Failure } from '../failure.js';
import { hosts } from '../kinds.js';
import { listText, objectText } from '../output.js';
import { examples, note, say, wholeNumber, type Commands } from '../session.js';

interface JoinOptions {
  readonly label: readonly string[];
  readonly expiresIn?: number;
}

export const hostCommands: Commands = (program, session) => {
  const host = program.command('host').description('hosts of the cluster');
  examples(host, 'berth host ls\nberth host join --help');
  const list = host
    .command('ls')
    .description('list hosts')
    .action(async () => {
      const s = session();
      const all = await hosts.list(s.api, { project: s.project, limit: Infinity });
      say(listText(all, hosts.columns, s.format));
    });
  examples(list, 'berth host ls\nberth host ls -o wide');
  joinCommand(host, session);
  baselineCommand(host, session);
  for (const [verb, schedulable, description] of [
    ['cordon', false, 'place nothing new here; what runs stays'],
    ['uncordon', true, 'let the scheduler place new instances here again'],
  ] as const) {
    const command = host
      .command(`${verb} <name>`)
      .description(description)
      .action(async (name: string) => {
        const s = session();
        const params = { path: { host: name } };
        await answer(s.api.rest.PATCH('/v1/hosts/{host}', { params, body: { schedulable } }));
        say(`${name}: ${schedulable ? 'schedulable' : 'cordoned; what runs stays'}\n`);
      });
    examples(command, `berth host ${verb} host-1`);
  }
};

const baselineCommand: Commands = (host, session) => {
  const baseline = host
    .command('cpu-baseline')
    .description('the best processor model that every host of a group can give its virtual machines')
    .option('--selector <labels>', 'only hosts with these: key=value,key=value')
    .addOption(
      new Option('--accel <accel>', 'acceleration under which guests are to have it')
        .choices(['kvm', 'tcg'])
        .default('kvm'),
    )
    .action(async (options: { readonly selector?: string; readonly accel: 'kvm' | 'tcg' }) => {
      const s = session();
      const found = await answer(s.api.rest.GET('/v1/cpuBaseline', { params: { query: options } }));
      if (s.format !== 'table' && s.format !== 'wide') return say(objectText(found, s.format));
      const { model, hosts: group, without } = found;
      if (model !== null) return say(`${model}\n`);
      const why =
        group.length === 0
          ? 'no host has these labels'
          : without.length > 0
            ? `these give no model under ${options.accel}: ${without.join(', ')}`
            : `these have no model in common: ${group.join(', ')}`;
      throw new Failure(`there is no baseline: ${why}`, exitCodes.notFound);
    });
  examples(
    baseline,
    'berth host cpu-baseline --accel tcg\nberth host cpu-baseline --accel tcg --selector rack=b2',
  );
};

const joinCommand: Commands = (host, session) => {
  const join = host
    .command('join [name]')
    .description('make a single-use token with which a host joins; only one of this name when one is given')
    .option(
      '--label <key=value>',
      'label the host starts with',
      (v, before: readonly string[]) => [...before, v],
      [],
    )
    .option('--expires-in <seconds>', 'life of the token, 900 when absent', (t) =>
      wholeNumber('--expires-in', t),
    )
    .action(async (name: string | undefined, options: JoinOptions) => {
      const s = session();
      const labels = Object.fromEntries(
        options.label.map((pair) => [pair.split('=')[0] ?? '', pair.split('=').slice(1).join('=')]),
      );
      const body = {
        hostName: name ?? null,
        labels,
        ...(options.expiresIn === undefined ? {} : { expiresInSeconds: options.expiresIn }),
      };
      const made = await answer(s.api.rest.POST('/v1/join-tokens', { body }));
      if (s.format !== 'table') return say(objectText(made, s.format));
      note(`good for one host until ${made.expiresAt}; shown only now.`);
      note(
        'On the new host: write it to /etc/berth/join-token (mode 600), set apiLink (host:port of the link,',
      );
      note(
        `7071 here)${name === undefined ? '' : ` and hostName: ${name}`} in /etc/berth/agent.yaml, and start its agent.`,
      );
      say(`${made.secret ?? ''}\n`);
    });
  examples(
    join,
    `berth host join
     berth host join host-7 --label rack=b2 --expires-in 3600
     berth host join host-8 > join-token`,
  );
};
