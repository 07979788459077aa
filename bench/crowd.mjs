// Many containers of one image on one host: each answers as itself on the network, they go, and nothing of any is left.
// `./berth bench crowd` has a thousand of them, a test a few dozen.
import http from 'node:http';
import { join } from 'node:path';
import { now, pause } from './measure.mjs';
import { run, until } from './programs.mjs';
import { beyond, cpuMs, descriptors, processes, pssKiB, servers, standing } from './standing.mjs';

/** The name that its host gave it, to whoever asks. */
const serve = ['/bin/busybox', 'httpd', '-f', '-p', '80', '-h', '/etc'];
export const diskMiB = 16;
const spec = (network) => ({
  isolation: 'container',
  image: 'busybox',
  // The least that can be asked for.
  cpuMillis: 10,
  memoryMiB: 8,
  rootDisk: { sizeMiB: diskMiB },
  nics: [{ network }],
  // As a first process it heeds no other signal.
  process: { command: serve.slice(0, 1), args: serve.slice(1), stopSignal: 'KILL' },
});

/** Of agents, ledger and whatever else ends a little later than its answer. */
const settleMs = 3000;
/** More descriptors of the agent than before are a leak. */
const descriptorsMost = 5;

/**
 * @param berth root of a Berth, and `call(method, path, body)`, which gives the answer's body or throws
 * @param o `count`: how many, `atOnce`: at the same time; `network`: name of one with room for them; `patienceMs`: what one step may take;
 *   `idleMs`: how long they are watched while nothing is asked of them, 0: not at all; `limitMs`: after this time no other is begun
 * @throws where one does not run, does not answer as itself, or leaves anything; what there is of them is deleted then
 */
export async function crowd(berth, o) {
  try {
    return await measured(berth, o);
  } catch (error) {
    await new Doing(berth, o).deleteAll().catch(() => undefined); // the first fault is the one to tell of
    throw error;
  }
}

async function measured(berth, o) {
  const { count, atOnce, idleMs = 0, progress = () => undefined } = o;
  const names = Array.from({ length: count }, (_, n) => `crowd-${n}`);
  const doing = new Doing(berth, o);
  // The first brings what all share.
  await doing.start('crowd-first');
  await doing.delete('crowd-first');
  const before = await look(berth);
  const times = [];
  const starting = await timed(() =>
    each(names, atOnce, async (name) => {
      times.push(await timed(() => doing.start(name)));
      if (times.length % 100 === 0) progress(`${times.length} of ${count} run`);
    }),
  );
  await each(names, atOnce, (name) => doing.answersAsItself(name));
  progress(`${count} answer as themselves`);
  const full = await look(berth);
  // A look that does not see them all could not see what is left either.
  for (const kind of ['links', 'mounts', 'groups', 'processes', 'loops', 'files']) {
    const seen = beyond({ [kind]: before.standing[kind] }, { [kind]: full.standing[kind] }).length;
    if (seen < count) throw new Error(`${seen} ${kind} are seen of ${count} containers`);
  }
  const idle = idleMs === 0 ? null : await idleShare(berth, idleMs);
  const ending = await timed(() => each(names, atOnce, (name) => doing.delete(name)));
  progress(`${count} are gone`);
  const after = await until('nothing of them is left', 30_000, async () => {
    const seen = await look(berth);
    const left = beyond(before.standing, seen.standing);
    if (left.length > 0) throw new Error(`${left.length} parts are: ${left.slice(0, 8).join('; ')}`);
    return seen;
  });
  const more = after.descriptors - before.descriptors;
  if (more > descriptorsMost) throw new Error(`the agent has ${more} descriptors more than before`);
  return { times, starting, ending, idle, before, full, after };
}

class Doing {
  constructor(berth, { network, atOnce, patienceMs = 60_000, limitMs = Infinity }) {
    Object.assign(this, { berth, network, atOnce, patienceMs, end: now() + limitMs });
    this.path = '/v1/projects/default/instances';
  }

  async start(name) {
    if (now() > this.end) throw new Error(`the time is up, and ${name} was not begun`);
    await this.done('POST', `${this.path}?wait=60`, { name, spec: spec(this.network) });
  }
  delete(name) {
    return this.done('DELETE', `${this.path}/${name}?wait=60`);
  }

  async deleteAll() {
    for (;;) {
      const { items } = await this.berth.call('GET', `${this.path}?limit=100`);
      const ours = items.filter(({ name }) => name.startsWith('crowd-'));
      if (ours.length === 0) return;
      await each(ours, this.atOnce, ({ name }) => this.delete(name));
    }
  }

  /** @throws when its operation fails, or takes longer than one may */
  async done(method, path, body) {
    let { operation } = await this.berth.call(method, path, body);
    await until(`${method} ${path}`, this.patienceMs, async () => {
      if (operation.state === 'succeeded') return true;
      operation = await this.berth.call('GET', `/v1/operations/${operation.id}`);
      return undefined;
    }).catch((error) => {
      throw new Error(`${error.message}: ${JSON.stringify(operation)}`);
    });
  }

  /** @throws where another answers at its address, or nobody does */
  async answersAsItself(name) {
    const { status } = await this.berth.call('GET', `${this.path}/${name}`);
    const { ipv4 } = status.nics[0];
    const said = await until(`${name} answers at ${ipv4}`, this.patienceMs, () => hostnameAt(ipv4));
    if (said !== name) throw new Error(`${said} answers at ${ipv4}, which is the address of ${name}`);
  }
}

function hostnameAt(host) {
  return new Promise((resolve, reject) => {
    const request = http.get({ host, path: '/hostname', timeout: 5000, agent: false }, (answer) => {
      let text = '';
      answer.setEncoding('utf8');
      answer.on('data', (part) => (text += part));
      answer.once('error', reject);
      answer.once('end', () => resolve(text.trim()));
    });
    request.once('timeout', () => request.destroy(new Error('it takes too long')));
    request.once('error', reject);
  });
}

/** Does the work for each, so many at once. The first fault is thrown when all that began have ended. */
async function each(items, atOnce, work) {
  const left = [...items];
  const faults = [];
  const worker = async () => {
    while (left.length > 0 && faults.length === 0)
      await work(left.shift()).catch((error) => faults.push(error));
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
  if (faults.length > 0) throw faults[0];
}

async function timed(work) {
  const begun = now();
  await work();
  return now() - begun;
}

async function look(berth) {
  await pause(settleMs);
  const { agent, api } = servers(berth);
  const monitors = processes().filter(({ text }) => /conmon/.test(text) && text.includes(`${berth.root}/`));
  return {
    standing: standing(berth),
    descriptors: descriptors(agent[0]),
    diskKiB: Number((await run('du', ['-sk', join(berth.root, 'var/lib/berth/volumes')])).split(/\s/)[0]),
    memoryKiB: { agent: pssKiB(agent), api: pssKiB(api), monitors: pssKiB(monitors.map(({ pid }) => pid)) },
  };
}

/** Thousandths of a processor that agent, API and Postgres take while nothing is asked of them. */
async function idleShare(berth, ms) {
  const of = () => Object.entries(servers(berth)).map(([name, pids]) => [name, cpuMs(pids)]);
  const before = of();
  await pause(ms);
  const after = Object.fromEntries(of());
  return Object.fromEntries(before.map(([name, spent]) => [name, ((after[name] - spent) / ms) * 1000]));
}
