import { execFile } from 'node:child_process';
import { request } from 'node:http';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { patience, until, type Berth } from '../e2e/berth.js';
import { childNamed, killed, living, parentOf } from './processes.js';

const exec = promisify(execFile);

interface Component {
  readonly name: string;
  readonly state: string;
  readonly pid: number | null;
  readonly restarts: number;
}

/** The parts of one Berth, by the supervisor's names for them: `api`, `postgres`, `host-2/agent`, `host-2/libvirtd`. */
export class Victims {
  constructor(private readonly berth: Berth) {}

  async components(): Promise<Component[]> {
    return new Promise((resolve, reject) => {
      const socketPath = join(this.berth.root, 'run/berth/supervisor.sock');
      const asked = request({ socketPath, path: '/status' }, (answer) => {
        let body = '';
        answer.on('data', (chunk) => (body += String(chunk)));
        answer.on('end', () => resolve((JSON.parse(body) as { components: Component[] }).components));
      });
      asked.on('error', reject);
      asked.end();
    });
  }

  private async component(name: string): Promise<Component> {
    const found = (await this.components()).find((c) => c.name === name);
    if (found === undefined) throw new Error(`the supervisor runs no ${name}`);
    return found;
  }

  /** Kills it the hard way; false when there was nothing to kill. Its reaper, where it has one, is left alone. */
  async kill(name: string): Promise<boolean> {
    const { pid } = await this.component(name);
    if (pid === null) return false;
    const daemon = /\/((?:libvirt|virtlog)d)$/.exec(name)?.[1];
    const target = daemon === undefined ? pid : childNamed(pid, daemon);
    return target !== null && killed(target);
  }

  /**
   * Kills all of them at once, does that work while they are being restarted, and waits until the supervisor has others
   * that serve. @throws when others ended too
   */
  async killAndWait(
    names: readonly string[],
    meanwhile: () => Promise<void> = () => Promise.resolve(),
  ): Promise<void> {
    const before = await this.components();
    for (const name of names) if (!(await this.kill(name))) throw new Error(`there was no ${name} to kill`);
    await meanwhile();
    for (const name of names) await this.serves(name, before.find((c) => c.name === name)?.restarts ?? 0);
    const fell = (await this.components()).filter(
      (c) => !names.includes(c.name) && c.restarts !== before.find((b) => b.name === c.name)?.restarts,
    );
    if (fell.length > 0) throw new Error(`it took others with it: ${JSON.stringify(fell)}`);
  }

  /** Waits until it serves and was restarted more than that many times. */
  async serves(name: string, moreThan: number): Promise<void> {
    let last: Component | undefined;
    await until(
      `${name} serves again`,
      patience(60_000),
      async () => {
        last = await this.component(name);
        return last.restarts > moreThan && last.state === 'ready' ? true : undefined;
      },
      () => JSON.stringify(last),
    );
  }

  /** Runs the work while these parts are dead: the supervisor, which would restart them, holds still meanwhile. */
  async without<T>(names: readonly string[], work: () => Promise<T>): Promise<T> {
    const before = await Promise.all(names.map((name) => this.component(name)));
    const supervisor = parentOf((await this.component('postgres')).pid ?? 0);
    if (supervisor === null) throw new Error('there is no supervisor');
    process.kill(supervisor, 'SIGSTOP');
    let result: T;
    try {
      for (const { name, pid } of before) {
        if (pid === null || !killed(pid)) throw new Error(`there was no ${name} to kill`);
        await until(`${name} is gone`, patience(10_000), () =>
          Promise.resolve(living(pid) ? undefined : true),
        );
      }
      result = await work();
    } finally {
      process.kill(supervisor, 'SIGCONT');
    }
    for (const { name, restarts } of before) await this.serves(name, restarts);
    return result;
  }

  /** Rows of a query against the store. */
  async rows<T>(sql: string): Promise<T[]> {
    const where = ['-h', join(this.berth.root, 'run/berth/postgres'), '-U', 'postgres', '-d', 'berth'];
    const query = `select coalesce(json_agg(r), '[]') from (${sql}) r`;
    const { stdout } = await exec('psql', ['-X', '-A', '-t', ...where, '-c', query]);
    return JSON.parse(stdout) as T[];
  }
}
