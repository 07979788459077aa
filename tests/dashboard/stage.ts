import { fileURLToPath } from 'node:url';
import type { InstanceId } from '@berth/model';
import type { AddressInfo } from 'node:net';
import { defaultHttpConfig } from '../../apps/api/src/http/deps.js';
import { Api, isoContent, seedHost, system } from '../http/api.js';
import { DonePrompts } from '../http/done-prompts.js';
import { ScreenGuests } from './screen-guests.js';
import { hourOfUsage } from './usage.js';

const dashboardDir = fileURLToPath(new URL('../../apps/dashboard/dist', import.meta.url));

/** The real HTTP application with the built dashboard and something of everything to look at. */
export class Stage {
  private constructor(
    readonly api: Api,
    readonly base: string,
    readonly guests: ScreenGuests,
    readonly prompts: DonePrompts,
  ) {}

  static async start(): Promise<Stage> {
    const guests = new ScreenGuests();
    const prompts = new DonePrompts();
    const api = await Api.start({
      terminals: guests,
      prompts,
      config: { ...defaultHttpConfig, imageMaxBytes: 4 * 1024 * 1024, dashboardDir },
      wake: { scheduler: () => undefined, dispatch: () => undefined, ledger: () => void api.ledger.flush() },
      logs: async (_instance, { follow }, signal) => printed(follow, signal),
    });
    const { port } = api.app.getHttpServer().address() as AddressInfo;
    const stage = new Stage(api, `http://127.0.0.1:${port}`, guests, prompts);
    await stage.fill();
    return stage;
  }

  token(as = 'all:admin'): string {
    return this.api.tokens.get(as) as string;
  }

  /** A sign-in code, as `./berth sign-in` prints one. */
  async code(): Promise<string> {
    const { body } = await this.api.call('post', '/v1/sign-in-codes').expect(201);
    return (body as { secret: string }).secret;
  }

  /** A container and a machine that run, one that waits for memory, one that is stopped, and a silent host; of the first an hour's use. */
  private async fill(): Promise<void> {
    const { api } = this;
    await api.facetsAdd('cdroms');
    await api.hostSays(() => ({ devices: ['fuse', 'tun'] }));
    await api.store.imageInsert(system, {
      projectId: api.projects.alpha,
      name: 'rescue',
      content: isoContent,
    });
    await api.call('put', '/v1/projects/alpha/secrets/db-password').send({ value: 's3cret' }).expect(200);
    await api
      .call('post', '/v1/projects/alpha/volumes')
      .send({ name: 'uploads', sizeMiB: 64, format: 'ext4' })
      .expect(201);
    const create = (name: string, spec: object, labels = {}) =>
      api.call('post', '/v1/projects/alpha/instances').send({ name, labels, spec }).expect(202);
    const container = { isolation: 'container', image: 'oci', memoryMiB: 128 };
    const secrets = [{ name: 'db-password', env: 'DB_PASSWORD' }];
    await create('web', { ...container, restart: { policy: 'always' }, secrets }, { tier: 'web', zone: 'a' });
    await create('database', {
      isolation: 'vm',
      image: 'disk',
      vcpus: 2,
      memoryMiB: 2048,
      rootDisk: { sizeMiB: 4096 },
      cdroms: [{ image: 'rescue' }, {}],
    });
    await create('worker', container);
    await create('giant', { ...container, memoryMiB: 1_000_000 });
    await api.settle();
    const snapshots = '/v1/projects/alpha/instances/database/snapshots';
    await api.call('post', snapshots).send({ name: 'before-upgrade' }).expect(202);
    await api.call('post', '/v1/projects/alpha/instances/worker/actions/stop').expect(202);
    await api.settle();
    await seedHost(api.store, 'h2');
    await api.store.hostsSilentMark(-1_000_000);
    await api.store.hostSeen(api.host.id, api.host.session);
    await api.ledger.flush();
    const { body } = await api.call('get', '/v1/projects/alpha/instances/web').expect(200);
    api.usage.take(api.host.id, hourOfUsage((body as { id: InstanceId }).id, Date.now()));
  }

  /** A machine with two screens, which runs. */
  async wall(): Promise<string> {
    const { api } = this;
    await api.displaysGive();
    const name = await api.instance('alpha', {
      ...{ isolation: 'vm', image: 'disk', vcpus: 1, memoryMiB: 64, rootDisk: { sizeMiB: 64 } },
      ...{ displays: 2, placement: { driver: 'qemu' } },
    });
    await api.settle();
    return name;
  }

  stop(): Promise<void> {
    return this.api.stop();
  }
}

/** What every instance of the stage has printed. */
async function* printed(follow: boolean, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  for (let i = 1; i <= 40; i++) yield Buffer.from(`\x1b[32mline\x1b[0m ${i} of what it printed\r\n`);
  if (follow) await new Promise((resolve) => signal.addEventListener('abort', resolve));
}
