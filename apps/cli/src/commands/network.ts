import { answer } from '@berth/client';
import { networks } from '../kinds.js';
import { listText, objectText } from '../output.js';
import { exitCodes, Failure } from '../failure.js';
import { waiting, type WaitOptions } from '../operation.js';
import { nicsChange } from '../spec-change.js';
import { examples, inProject, say, type Commands } from '../session.js';

export const networkCommands: Commands = (program, session) => {
  const network = program
    .command('network')
    .description('networks of the project: what is on one reaches its neighbours, and no other network');
  examples(network, 'berth network ls\nberth network create --help');
  const create = network
    .command('create <name>')
    .description('create a network; instances get on it by spec.nics')
    .option('--cidr <subnet>', 'private subnet, apart from all others; left out: a free /24 is chosen')
    .option('--internal', 'without a way out: its guests reach each other, and nothing else', false)
    .action(async (name: string, { cidr, internal }: { cidr?: string; internal: boolean }) => {
      const s = session();
      const body = { name, internal, ...(cidr === undefined ? {} : { cidr }) };
      const path = '/v1/projects/{project}/networks';
      const made = await answer(s.api.rest.POST(path, { params: inProject(s), body }));
      say(
        s.format === 'json' || s.format === 'yaml' ? objectText(made, s.format) : `${name}: ${made.cidr}\n`,
      );
    });
  examples(create, 'berth network create backend\nberth network create lab --cidr 10.70.40.0/24 --internal');
  const list = network
    .command('ls')
    .description('list the networks of the project')
    .action(async () => {
      const s = session();
      const all = await networks.list(s.api, { project: s.project, limit: Infinity });
      say(listText(all, networks.columns, s.format));
    });
  examples(list, 'berth network ls\nberth network ls -o json');
  const attach = waiting(network.command('attach <instance> <network>'))
    .description('give a stopped instance a nic on a network, as its last one')
    .action(async (name: string, network: string, options: WaitOptions) => {
      await nicsChange(session(), name, options, (nics) => [...nics, { network }]);
    });
  examples(attach, 'berth network attach db backend');
  const detach = waiting(network.command('detach <instance> <network>'))
    .description('take the nic on a network from a stopped instance, and with it its ports and groups there')
    .action(async (name: string, network: string, options: WaitOptions) => {
      await nicsChange(session(), name, options, (nics) => {
        if (nics.some((nic) => nic.network === network)) return nics.filter((nic) => nic.network !== network);
        const has = nics.map((nic) => nic.network).join(', ') || 'none';
        throw new Failure(`${name} has no nic on ${network}\n  -> It is on: ${has}`, exitCodes.notFound);
      });
    });
  examples(detach, 'berth network detach db backend');
  const remove = network
    .command('rm <name...>')
    .description('delete networks; no instance may have a nic on one')
    .action(async (names: string[]) => {
      const s = session();
      for (const name of names) {
        const path = '/v1/projects/{project}/networks/{name}';
        await answer(s.api.rest.DELETE(path, { params: { path: { project: s.project, name } } }));
        say(`${name}: deleted\n`);
      }
    });
  examples(remove, 'berth network rm backend');
};
