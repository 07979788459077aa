import { patience, until, type Berth } from '../e2e/berth.js';
import { chanceOf } from '../support/chance.js';
import type { Fleet } from './fleet.js';
import { killed } from './processes.js';
import type { Victims } from './victims.js';

export interface RandomKills {
  readonly seed: number;
  readonly kills: number;
  /** No step begins after so many milliseconds, whatever the machine is busy with. */
  readonly budgetMs: number;
  /** One instance each. */
  readonly specs: readonly object[];
}

/** What the last acknowledged request asked for. */
type Wish = 'running' | 'stopped' | 'gone';

interface Wished {
  readonly name: string;
  readonly spec: object;
  wish: Wish;
}

/**
 * Kills parts and workloads at random while instances are created, stopped, started, restarted and deleted at random.
 * Returns what was asked for: the last acknowledged wish of every instance there ever was.
 */
export class RandomRun {
  readonly wished: Wished[] = [];
  readonly told: string[] = [];
  kills = 0;
  private readonly random: () => number;
  private readonly begun = Date.now();

  constructor(
    private readonly berth: Berth,
    private readonly victims: Victims,
    private readonly fleet: Fleet,
    private readonly o: RandomKills,
  ) {
    this.random = chanceOf(o.seed);
  }

  async run(): Promise<void> {
    for (const spec of this.o.specs) await this.create(spec);
    while (this.kills < this.o.kills && Date.now() - this.begun < this.o.budgetMs) {
      await (this.random() < 0.6 ? this.kill() : this.wish());
      await new Promise((resolve) => setTimeout(resolve, 50 + this.random() * 400));
    }
  }

  private tell(line: string): void {
    this.told.push(`${((Date.now() - this.begun) / 1000).toFixed(1)} s  ${line}`);
  }

  private pick<T>(from: readonly T[]): T | undefined {
    return from[Math.floor(this.random() * from.length)];
  }

  private async kill(): Promise<void> {
    if (this.random() < 0.4) {
      const part = this.pick([
        'api',
        'postgres',
        ...this.fleet.parts('agent'),
        ...this.fleet.parts('libvirtd').slice(0, 1),
      ]);
      if (part === undefined || !(await this.victims.kill(part))) return;
      this.tell(`kill ${part}`);
    } else {
      const victim = this.pick(this.fleet.running());
      if (victim === undefined || !killed(victim.pid)) return;
      this.tell(`kill ${victim.kind} of ${victim.of}`);
    }
    this.kills += 1;
  }

  private async wish(): Promise<void> {
    const there = this.wished.filter((w) => w.wish !== 'gone');
    const one = this.pick(there);
    if (one === undefined) return;
    const chance = this.random();
    if (chance < 0.2) {
      await this.ask('DELETE', one, '', [404]);
      one.wish = 'gone';
      return this.create(one.spec);
    }
    if (one.wish === 'stopped') return this.act(one, 'start', 'running');
    return chance < 0.6 ? this.act(one, 'stop', 'stopped') : this.act(one, 'restart', 'running');
  }

  private async create(spec: object): Promise<void> {
    const one: Wished = { name: `random-${this.wished.length + 1}`, spec, wish: 'running' };
    // A repeated create whose first answer was lost finds its own instance.
    await this.ask('POST', one, null, [409]);
    this.wished.push(one);
  }

  private async act(one: Wished, verb: string, wish: Wish): Promise<void> {
    await this.ask('POST', one, `/actions/${verb}`, []);
    one.wish = wish;
  }

  /** Asks until there is an answer. What is answered by these codes in a repetition was done before. */
  private async ask(
    method: string,
    one: Wished,
    path: string | null,
    done: readonly number[],
  ): Promise<void> {
    const { berth } = this;
    const where = path === null ? berth.instances : `${berth.instances}/${one.name}${path}`;
    const body = path === null ? { name: one.name, spec: one.spec } : method === 'POST' ? {} : undefined;
    let seen = '';
    let tries = 0;
    await until(
      `${method} ${where} is answered`,
      patience(60_000),
      async () => {
        tries += 1;
        try {
          const { status, body: said } = await berth.call<unknown>(method, where, body);
          if (status < 300 || (tries > 1 && done.includes(status))) return true;
          seen = `${status} ${JSON.stringify(said)}`;
          // Whoever asks for what exists is refused for good; a part that is away is asked again.
          if (status < 500) throw new Refused(`${method} ${where}: ${seen}`);
        } catch (error) {
          if (error instanceof Refused) throw error;
          seen = String(error);
        }
        return undefined;
      },
      () => seen,
    );
    this.tell(`${method} ${one.name}${path ?? ''}${tries > 1 ? ` (asked ${tries} times)` : ''}`);
  }
}

class Refused extends Error {}
