import { answer } from '@berth/client';
import { securityGroups } from '../kinds.js';
import { type WaitOptions, waiting } from '../operation.js';
import { listText, objectText } from '../output.js';
import { ruleOf } from '../security-rule.js';
import { append, examples, say, wholeNumber, type Commands } from '../session.js';
import { requireNic, nicsChange } from '../spec-change.js';

const path = '/v1/projects/{project}/securityGroups/{name}';

export const securityGroupCommands: Commands = (program, session) => {
  const group = program
    .command('security-group')
    .description('what nics of instances may be connected to, and connect to');
  examples(group, 'berth security-group ls\nberth security-group put --help');
  const list = group
    .command('ls')
    .description('list the security groups of the project')
    .action(async () => {
      const s = session();
      const all = await securityGroups.list(s.api, { project: s.project, limit: Infinity });
      say(listText(all, securityGroups.columns, s.format));
    });
  examples(list, 'berth security-group ls');
  const put = group
    .command('put <name>')
    .description(
      'make a group, or replace all its rules: protocol:ports@peer, where a peer is a network or group:<name>',
    )
    .option('--in <rule>', 'connections that members may be asked for', append, [])
    .option('--out <rule>', 'connections that they may make; with none all', append, [])
    .action(async (name: string, options: { in: string[]; out: string[] }) => {
      const s = session();
      const rules = [
        ...options.in.map((text) => ruleOf('ingress', text)),
        ...options.out.map((text) => ruleOf('egress', text)),
      ];
      const params = { path: { project: s.project, name } };
      const made = await answer(s.api.rest.PUT(path, { params, body: { rules } }));
      const all = `${rules.length} rule${rules.length === 1 ? '' : 's'}`;
      say(s.format === 'json' || s.format === 'yaml' ? objectText(made, s.format) : `${name}: ${all}\n`);
    });
  examples(
    put,
    `berth security-group put web --in tcp:80 --in tcp:443 --in icmp
     berth security-group put db --in tcp:5432@group:web --in tcp:22@10.0.0.0/8 --out udp:123`,
  );
  assignCommand(group, session);
  const remove = group
    .command('delete <name...>')
    .description('delete groups; no nic and no rule may name them')
    .action(async (names: string[]) => {
      const s = session();
      for (const name of names) {
        await answer(s.api.rest.DELETE(path, { params: { path: { project: s.project, name } } }));
        say(`${name}: deleted\n`);
      }
    });
  examples(remove, 'berth security-group delete old');
};

const assignCommand: Commands = (group, session) => {
  const assign = waiting(group.command('assign <instance> [group...]'))
    .description('put a nic of an instance into these groups and no others; with none, all is allowed')
    .option('--nic <number>', 'which one, from 0', (t) => wholeNumber('--nic', t), 0)
    .action(async (name: string, groups: string[], options: WaitOptions & { nic: number }) => {
      await nicsChange(session(), name, options, (nics) => {
        requireNic(name, nics, options.nic);
        return nics.map(({ securityGroups: has, ...nic }, i) => {
          const wanted = i === options.nic ? groups : (has ?? []);
          return wanted.length === 0 ? nic : { ...nic, securityGroups: wanted };
        });
      });
    });
  examples(assign, 'berth security-group assign web web\nberth security-group assign web');
};
