import { readdirSync, readlinkSync } from 'node:fs';
import type { Instance } from '@berth/model';
import { patience, until, type Answer, type Berth } from '../e2e/berth.js';
import type { LabHost } from './lab-host.js';
import { media } from './images.js';
import type { Listing } from './listing.js';
import type { RuntimeName } from './steps.js';

/** The boot sector counts in one character, which goes on after the digits. */
const bootsOf = (text: string): number => (text.length > 1 ? Number(text) : text.charCodeAt(0) - 48);

/** Paths of what a process has open. */
function filesOpen(pid: number): string {
  const links = readdirSync(`/proc/${pid}/fd`).map((fd) => {
    try {
      return readlinkSync(`/proc/${pid}/fd/${fd}`);
    } catch {
      return ''; // it was closed meanwhile
    }
  });
  return links.join('\n');
}

/** Of what is in its drive: content lies under it. */
const digestOf = ({ status }: Instance): string =>
  status.cdroms[0]?.digest?.replace('sha256:', '') ?? 'nothing';

/** Between two looks at a log, ms: dozens that look ten times a second are more work for the API than what they wait for. */
const LOGS_MS = 400;

/** An instance of the kill table, and what is expected of it. */
export class Slot {
  /** The epoch that runs, or the last one that did; 0 before the first. */
  epoch = 0;
  runs = false;
  /** The number of its run within the epoch. */
  run = 1;
  gone = false;
  /** How often its guest started on its disk. */
  boots = 0;
  /** What is in its drive, where it has one. */
  medium: string = media[0];
  private lastMedium = '';
  private process = 0;
  /** Whether every start of it is known; not after its own processes were killed. */
  counted = true;

  constructor(
    private readonly berth: Berth,
    private readonly listing: Listing,
    readonly runtime: RuntimeName,
    readonly host: LabHost,
    public instance: Instance,
  ) {}

  get name(): string {
    return this.instance.name;
  }

  get path(): string {
    return `${this.berth.instances}/${this.name}`;
  }

  /**
   * Waits until it runs as that epoch, or as a later one: a placement that its silent host was never told of is taken
   * back and made anew. That it began once and no more is what its count of boots says.
   */
  async untilRunning(epoch: number): Promise<void> {
    this.epoch = epoch;
    this.runs = true;
    this.run = 1;
    await this.until('running', ({ status }) => status.power === 'running' && (status.epoch ?? 0) >= epoch);
    this.epoch = this.instance.status.epoch ?? epoch;
  }

  /** Waits until the run after this one runs, of the same epoch. */
  async untilNextRun(): Promise<void> {
    this.run += 1;
    await this.until(
      'running',
      ({ status }) =>
        status.power === 'running' && status.epoch === this.epoch && (status.run ?? 0) >= this.run,
    );
  }

  /** Asks for the other medium in its drive. */
  async changeMedium(): Promise<void> {
    this.medium = media.find((image) => image !== this.medium) ?? media[0];
    this.process = this.host.workload(this.instance).pid;
    this.lastMedium = digestOf(this.instance);
    const cdroms = [{ image: this.medium }];
    await this.berth.ok('PUT', this.path, { spec: { ...this.instance.spec, cdroms } });
  }

  /**
   * Waits until its drive has that medium and is closed, as the API says, and its QEMU has nothing else open; in the same process, unless
   * that was killed.
   */
  async untilMedium(): Promise<void> {
    const wanted = [{ image: this.medium, trayOpen: false }];
    await this.until('running', ({ status }) => {
      const had = status.cdroms.map(({ image, trayOpen }) => ({ image, trayOpen }));
      return JSON.stringify(had) === JSON.stringify(wanted);
    });
    const { pid } = this.host.workload(this.instance);
    const open = filesOpen(pid);
    const has = [this.lastMedium, digestOf(this.instance)].map((digest) => open.includes(digest));
    if (has[0] === true || has[1] !== true)
      throw new Error(`QEMU has the medium before: ${has[0]}; the one that is wanted: ${has[1]}`);
    const { run } = this.instance.status;
    if (this.counted && (pid !== this.process || run !== this.run))
      throw new Error(`it is run ${run} in process ${pid}, not run ${this.run} in ${this.process}`);
  }

  async untilStopped(): Promise<void> {
    this.runs = false;
    await this.until('stopped', ({ status }) => status.epoch === this.epoch);
  }

  async untilGone(): Promise<void> {
    this.runs = false;
    let last = '';
    await until(
      'it is gone',
      patience(60_000),
      async () => {
        const all = await this.listing.ask();
        const there = all?.get(this.name);
        last = JSON.stringify(there?.status);
        return all !== null && there === undefined ? true : undefined;
      },
      () => last,
    );
    this.gone = true;
  }

  /** Waits until its guest started so many times, by its log; returns how often it did. */
  async booted(atLeast: number): Promise<number> {
    let last = 0;
    return until(
      `it booted ${atLeast} times`,
      patience(60_000),
      async () => {
        const answer = await this.logs();
        // A new agent may be asked before it, or its runtimes, are connected.
        if (answer?.status !== 200) return undefined;
        const { body } = answer;
        last = Math.max(0, ...[...body.matchAll(/boots=(\d{2,}|.)/g)].map((m) => bootsOf(m[1] ?? '0')));
        return last >= atLeast ? last : undefined;
      },
      () => `(it booted ${last} times)`,
      LOGS_MS,
    );
  }

  /** Null while there is no API to ask. */
  private logs(): Promise<Answer<string> | null> {
    return this.berth.call<string>('GET', `${this.path}/logs`).catch(() => null);
  }

  private async until(state: string, holds: (instance: Instance) => boolean): Promise<void> {
    await until(
      `it is ${state}, epoch ${this.epoch}`,
      patience(60_000),
      async () => {
        const found = (await this.listing.ask())?.get(this.name);
        if (found === undefined) return undefined;
        this.instance = found;
        return this.instance.status.state === state && holds(this.instance) ? true : undefined;
      },
      () => JSON.stringify(this.instance.status),
    );
  }
}
