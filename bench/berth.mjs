// A Berth of its own, below a root of its own: started, asked and ended as a user would.
import { chmodSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { now } from './measure.mjs';
import { client, run } from './programs.mjs';

const home = fileURLToPath(new URL('..', import.meta.url));
const supervisor = join(home, 'apps/supervisor/dist/main.js');

function freePort() {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

export class Berth {
  /** @param env further environment of its programs */
  static async make(env = {}) {
    const berth = new Berth();
    berth.root = mkdtempSync(join(tmpdir(), 'berth-bench-'));
    chmodSync(berth.root, 0o711);
    berth.port = await freePort();
    berth.env = {
      ...process.env,
      BERTH_ROOT: berth.root,
      BERTH_HOME: home,
      BERTH_API_PORT: String(berth.port),
      BERTH_LINK_PORT: String(await freePort()),
      BERTH_NETWORK_SUPERNET: `10.${100 + (process.pid % 100)}.0.0/16`,
      ...env,
    };
    return berth;
  }

  /** Milliseconds until all served. */
  async up() {
    const begun = now();
    await run(process.execPath, [supervisor, 'up'], { env: this.env });
    const took = now() - begun;
    const token = readFileSync(join(this.root, 'etc/berth/admin-token'), 'utf8').trim();
    this.headers = { authorization: `Bearer ${token}` };
    this.call = client({ host: '127.0.0.1', port: this.port }, this.headers);
    return took;
  }
  down(instances = 'stop') {
    return run(process.execPath, [supervisor, 'down', '--instances', instances], { env: this.env });
  }
  /** Ends everything and removes the root. */
  async remove() {
    await this.down();
    rmSync(this.root, { recursive: true, force: true });
  }

  image(name, kind, file) {
    const path = `/v1/projects/default/images?name=${name}&kind=${kind}`;
    return this.call('POST', path, readFileSync(file), 'application/octet-stream');
  }
  /** Creates an instance and gives it once it runs. @throws when it does not come to run */
  async create(name, spec) {
    const answer = await this.call('POST', '/v1/projects/default/instances?wait=60', { name, spec });
    if (answer.operation.state !== 'succeeded')
      throw new Error(
        `${name}: ${answer.operation.state} ${JSON.stringify(answer.operation.error ?? answer.instance?.status)}`,
      );
    return answer;
  }
  async act(name, verb) {
    const path = `/v1/projects/default/instances/${name}/actions/${verb}?wait=60`;
    const { operation } = await this.call('POST', path, {});
    if (operation.state !== 'succeeded')
      throw new Error(`${verb} of ${name}: ${operation.state} ${JSON.stringify(operation.error)}`);
  }
  logs(name) {
    return this.call('GET', `/v1/projects/default/instances/${name}/logs`);
  }
  async delete(name) {
    const { operation } = await this.call('DELETE', `/v1/projects/default/instances/${name}?wait=60`);
    if (operation.state !== 'succeeded') throw new Error(`${name} was not deleted: ${operation.state}`);
  }
  /** Parts of an operation, summed by room and name. */
  async trace(operation) {
    const { spans } = await this.call('GET', `/v1/operations/${operation.id}/trace`);
    const sums = {};
    for (const { room, name, ms } of spans) sums[`${room}.${name}`] = (sums[`${room}.${name}`] ?? 0) + ms;
    return sums;
  }
}
