import { answer, type Schemas } from '@berth/client';
import { networks } from '../kinds.js';
import { listText, objectText } from '../output.js';
import { exitCodes, Failure } from '../failure.js';
import { waiting, type WaitOptions } from '../operation.js';
import { nicsChange } from '../spec-change.js';
import { examples, inProject, say, wholeNumber, type Commands } from '../session.js';

interface CreateOptions {
  readonly cidr?: string;
  readonly ipv6?: string;
  readonly internal: boolean;
}

interface NicLimits {
  readonly ingress?: number;
  readonly egress?: number;
}

const megabits = (flag: string) => (text: string) => wholeNumber(flag, text);

/** @throws Failure where no nic is on the network */
function requireOn(name: string, network: string, nics: Schemas['Instance']['spec']['nics']): void {
  if (nics.some((nic) => nic.network === network)) return;
  const has = nics.map((nic) => nic.network).join(', ') || 'none';
  throw new Failure(`${name} has no nic on ${network}\n  -> It is on: ${has}`, exitCodes.notFound);
}

export const networkCommands: Commands = (program, session) => {
  const network = program
    .command('network')
    .description('networks of the project: what is on one reaches its neighbours, and no other network');
  examples(network, 'berth network ls\nberth network create --help');
  const create = network
    .command('create <name>')
    .description('create a network; instances get on it by spec.nics')
    .option('--cidr <subnet>', 'private subnet, apart from all others; left out: a free /24 is chosen')
    .option('--ipv6 <prefix>', 'IPv6 as well: a prefix of 64 to 112 bits, or auto for a free /64')
    .option('--internal', 'without a way out: its guests reach each other, and nothing else', false)
    .action(async (name: string, { cidr, ipv6, internal }: CreateOptions) => {
      const s = session();
      const body = {
        name,
        internal,
        ...(cidr === undefined ? {} : { cidr }),
        ...(ipv6 === undefined ? {} : { ipv6Cidr: ipv6 }),
      };
      const path = '/v1/projects/{project}/networks';
      const made = await answer(s.api.rest.POST(path, { params: inProject(s), body }));
      const ranges = [made.cidr, made.ipv6Cidr].filter((range) => range !== null).join(', ');
      say(s.format === 'json' || s.format === 'yaml' ? objectText(made, s.format) : `${name}: ${ranges}\n`);
    });
  examples(
    create,
    'berth network create backend\nberth network create lab --cidr 10.70.40.0/24 --internal\nberth network create six --ipv6 auto',
  );
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
    .description(
      'give an instance a nic on a network, as its last one: a VM also while it runs, others while stopped',
    )
    .action(async (name: string, network: string, options: WaitOptions) => {
      await nicsChange(session(), name, options, (nics) => [...nics, { network }]);
    });
  examples(attach, 'berth network attach db backend');
  const detach = waiting(network.command('detach <instance> <network>'))
    .description(
      'take the nic on a network, with its ports and groups: from a VM also while it runs, else while stopped',
    )
    .action(async (name: string, network: string, options: WaitOptions) => {
      await nicsChange(session(), name, options, (nics) => {
        requireOn(name, network, nics);
        return nics.filter((nic) => nic.network !== network);
      });
    });
  examples(detach, 'berth network detach db backend');
  const limit = waiting(network.command('limit <instance> <network>'))
    .description('limit what passes the nic on a network, at once; what is left out is lifted')
    .option('--ingress <Mbps>', 'most megabits that the guest gets in each second', megabits('--ingress'))
    .option('--egress <Mbps>', 'most megabits that the guest sends in each second', megabits('--egress'))
    .action(async (name: string, network: string, options: WaitOptions & NicLimits) => {
      const { ingress, egress } = options;
      const limits = {
        ...(ingress === undefined ? {} : { ingressMbps: ingress }),
        ...(egress === undefined ? {} : { egressMbps: egress }),
      };
      await nicsChange(session(), name, options, (nics) => {
        requireOn(name, network, nics);
        return nics.map((nic) => (nic.network === network ? { ...nic, limits } : nic));
      });
    });
  examples(
    limit,
    'berth network limit web default --ingress 100 --egress 20\nberth network limit web default',
  );
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
