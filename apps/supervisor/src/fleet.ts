import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { isAlive, writeFileAtomic } from '@berth/linux';
import { ApiAccess } from './api.js';
import { Component, type ComponentSpec, type ComponentStatus } from './component.js';
import type { Config } from './config.js';
import { agentComponent, apiComponent } from './control-plane.js';
import { machineHost, type HostContext } from './host.js';
import { labAddresses, labEnsure, labRemove, type LabHost } from './lab.js';
import { libvirtComponents } from './libvirt.js';
import type { Paths } from './paths.js';
import { postgresComponent, postgresUrl } from './postgres.js';
import { stopInstances } from './instances.js';

export interface FleetStatus {
  readonly step: string;
  /** All components serve and all hosts are ready. */
  readonly up: boolean;
  readonly error: string | null;
  readonly hosts: number;
  readonly api: string;
  readonly components: readonly ComponentStatus[];
}

/**
 * Everything the supervisor runs, in the order in which it starts: Postgres, per host virtlogd and libvirtd, the API,
 * per host the agent. Going down it takes the reverse order. One change at a time.
 */
export class Fleet {
  private readonly components: Component[] = [];
  private readonly labs: LabHost[] = [];
  private readonly api: ApiAccess;
  private step = 'beginning';
  private error: string | null = null;
  private changes: Promise<void> = Promise.resolve();
  /** Ends the waiting of an `up` that is under way. */
  private upward = new AbortController();

  constructor(
    private readonly paths: Paths,
    private readonly config: Config,
    private readonly report: (line: string) => void,
  ) {
    this.api = new ApiAccess(`http://127.0.0.1:${config.apiPort}`, paths.adminToken);
  }

  status(): FleetStatus {
    const components = this.components.map((c) => c.status());
    const serves = components.every((c) => c.state === 'ready' || c.state === 'external');
    return {
      step: this.step,
      up: this.step === 'up' && serves,
      error: this.error,
      hosts: this.labs.length + 1,
      api: this.api.base,
      components,
    };
  }

  /** Brings everything up with that many hosts; a repeat changes nothing. More hosts may be added, not taken away. */
  up(hosts: number): Promise<void> {
    // Said at once: whoever asks next must not read the state before this request.
    if (hosts > this.labs.length + 1) this.step = `going up to ${hosts} hosts`;
    return this.change(async () => {
      this.upward = new AbortController();
      rmSync(this.paths.downFailures, { force: true });
      await this.intentSave(hosts);
      await this.begin(hosts);
      this.step = 'up';
    });
  }

  /**
   * Ends what dies with the supervisor; with `stop` also instances, libvirt and lab hosts. What does not end holds up
   * nothing else: it is told by {@link downTold} when the supervisor is gone.
   * @throws Error when instances did not stop; then nothing was ended
   */
  down(instances: 'stop' | 'leave', timeoutMs: number): Promise<void> {
    // What does not come up must not hold up the way down.
    this.upward.abort(new Error('told to go down'));
    return this.change(async () => {
      if (instances === 'stop') {
        this.step = 'stopping instances';
        await stopInstances(this.api, timeoutMs, (line) => (this.step = line));
      }
      this.step = 'going down';
      const failures = await eachTried(this.stepsDown(instances));
      for (const failure of failures) this.report(failure);
      rmSync(this.paths.downFailures, { force: true });
      if (failures.length > 0)
        await writeFileAtomic(this.paths.downFailures, JSON.stringify(failures), { mode: 0o640 });
    });
  }

  private stepsDown(instances: 'stop' | 'leave'): Step[] {
    const components = [...this.components].reverse().map((c) => ({
      name: c.spec.name,
      remedy: `see ${c.spec.logFile}; ./berth up takes it over again`,
      run: () => (c.spec.outlives && instances === 'leave' ? c.release() : c.stop()),
    }));
    const labs = this.labs.map((lab) => ({
      name: `lab host ${lab.name}`,
      remedy: 'end those processes, then ./berth up and ./berth down --instances stop',
      run: () => labRemove(this.paths, lab),
    }));
    return instances === 'stop' ? [...components, ...labs] : components;
  }

  private change(work: () => Promise<void>): Promise<void> {
    const next = this.changes.then(async () => {
      this.error = null;
      await work();
    });
    this.changes = next.catch((error: Error) => {
      this.error = error.message;
      this.report(`${this.step}: ${error.stack ?? error.message}`);
    });
    return next;
  }

  private async begin(hosts: number): Promise<void> {
    const own = this.config.databaseUrl === undefined;
    if (own) await this.serve('starting Postgres', postgresComponent(this.paths));
    const before = this.labs.length;
    for (let n = this.labs.length + 2; n <= hosts; n++) {
      this.step = `making lab host ${n}`;
      this.labs.push(await labEnsure(this.paths, this.config.hostName, n, this.config.linkPort));
    }
    const machine = machineHost(this.config.hostName, this.paths.root, this.config.linkPort);
    const all: HostContext[] = [machine, ...this.labs];
    for (const host of all)
      for (const spec of libvirtComponents(this.paths, host))
        await this.serve(`starting libvirt of ${host.name}`, spec);
    // The API listens for agents on one address per host, so a new host means that it starts anew.
    const running = this.components.find((c) => c.spec.name === 'api');
    if (running !== undefined && this.labs.length > before) await running.stop();
    const url = this.config.databaseUrl ?? postgresUrl(this.paths);
    await this.serve(
      'starting the API',
      apiComponent(this.paths, this.config, url, () => this.linkAddresses(), this.api),
    );
    for (const host of all)
      await this.serve(`waiting for host ${host.name}`, agentComponent(this.paths, host, this.api));
  }

  private linkAddresses(): string[] {
    const labs = this.labs.map((l) => labAddresses(this.paths.root, l.number).machine);
    return [...new Set(['127.0.0.1', ...this.config.linkAddresses, ...labs])];
  }

  private async serve(step: string, spec: ComponentSpec): Promise<void> {
    this.step = step;
    let component = this.components.find((c) => c.spec.name === spec.name);
    if (component === undefined) {
      component = new Component(spec, this.report, this.config.restartPauseMaxSeconds * 1000);
      this.components.push(component);
    }
    component.start();
    await component.whenReady(this.upward.signal);
  }

  private async intentSave(hosts: number): Promise<void> {
    mkdirSync(this.paths.state, { recursive: true, mode: 0o711 });
    await writeFileAtomic(this.paths.intent, `${JSON.stringify({ hosts })}\n`, { mode: 0o644 });
  }
}

/** One thing to end on the way down, and what an operator can do when it does not. */
export interface Step {
  readonly name: string;
  readonly remedy: string;
  readonly run: () => Promise<void>;
}

/** Tries every step, in order, whatever became of those before. The result names each that failed, why, and what to do. */
export async function eachTried(steps: readonly Step[]): Promise<string[]> {
  const failures: string[] = [];
  for (const { name, remedy, run } of steps)
    await run().catch((error: Error) => failures.push(`${name}: ${error.message}\n  -> ${remedy}`));
  return failures;
}

/** What did not end on the last way down. */
export function downTold(paths: Paths): string[] {
  if (!existsSync(paths.downFailures)) return [];
  return JSON.parse(readFileSync(paths.downFailures, 'utf8')) as string[];
}

/** How many hosts the last `up` had; 1 when there was none. */
export function hostsOfLastUp(paths: Paths): number {
  if (!existsSync(paths.intent)) return 1;
  const { hosts } = JSON.parse(readFileSync(paths.intent, 'utf8')) as { hosts: number };
  return hosts;
}

/** Whether a component that outlives the supervisor (libvirt, a lab host) was left running. */
export function leftRunning(records: readonly string[]): string[] {
  return records.filter((file) => {
    try {
      const { identity } = JSON.parse(readFileSync(file, 'utf8')) as {
        identity: Parameters<typeof isAlive>[0];
      };
      return isAlive(identity);
    } catch {
      return false;
    }
  });
}
