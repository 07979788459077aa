import { spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import {
  hasCode,
  isAlive,
  mount,
  mounts,
  MS,
  namesIn,
  processEnd,
  processesWith,
  processIdentity,
  readOnlyMount,
  type ProcessIdentity,
  umountAll,
  writeFileAtomic,
} from '@berth/linux';
import { KeyedLock, RuntimeError } from '@berth/runtime';
import type { OciMount } from '../bundle/oci-types.js';
import { programFind } from '../launch/programs.js';

/*
 * What a container sees of memory, processors, uptime and load is its own, by lxcfs: a file system in user space (FUSE) whose files tell
 * whoever reads them of his own cgroup. One process of it serves a host while a container runs there (ADR 64).
 *
 *   <directory>/fs             lxcfs' file system
 *   <directory>/files/<name>   the kernel's own file, by a mount that is shared; over it lxcfs' file of that name
 *
 * A container has them as slaves, so what comes to lie over one of them here does so in all containers (mount_namespaces(7), "Shared
 * subtrees"). Where lxcfs dies its files answer ENOTCONN: those of the kernel are laid over them, and over those the ones of the next
 * lxcfs. No container is entered for it, and none needs a restart. Nothing can be taken away again while a container runs: it has
 * what lay on top when it was made, and what came later.
 */

/** Those that lxcfs has. */
const FILES = [
  '/proc/cpuinfo',
  '/proc/diskstats',
  '/proc/loadavg',
  '/proc/meminfo',
  '/proc/stat',
  '/proc/swaps',
  '/proc/uptime',
  '/sys/devices/system/cpu/online',
] as const;
const nameOf = (file: string): string => file.slice(1).replaceAll('/', '-');

const SERVES_MS = 5000;
/** To the next start of one that did not live for a while, ms; it doubles up to the second. Each life is a layer of mounts in each container. */
const BACK_OFF_MS = [1000, 300_000] as const;
const WHILE_MS = 600_000;

/** Why lxcfs cannot serve here, or null. Nothing is started. */
export function lxcfsMissing(): string | null {
  if (programFind('lxcfs') === null) return 'lxcfs is not installed';
  try {
    closeSync(openSync('/dev/fuse', 'r+'));
    return null;
  } catch (error) {
    return `FUSE is not to be had: ${error instanceof Error ? error.message : String(error)}`;
  }
}

interface LxcfsOptions {
  /** False: no container that is made from now on has it. */
  readonly enabled: boolean;
  /** Whether a container runs or is about to; otherwise it is not needed. */
  readonly wanted: () => boolean;
  /** Hears of what went wrong; no container ends by it. */
  readonly tell: (message: string, error?: unknown) => void;
}

export class Lxcfs {
  private readonly locks = new KeyedLock();
  private readonly mountPoint: string;
  private readonly recordFile: string;
  /** Process whose files are known to lie over the kernel's. */
  private covering: number | null = null;
  private begun = Number.NEGATIVE_INFINITY;
  private pauseMs = 0;

  /** @param directory of its own, emptied by a reboot */
  constructor(
    private readonly directory: string,
    private readonly options: LxcfsOptions,
  ) {
    this.mountPoint = join(directory, 'fs');
    this.recordFile = join(directory, 'lxcfs.json');
  }

  /**
   * Files to lie over those of a container that is about to be made, with what serves them if that can be: where it cannot, they are
   * the kernel's until it can. None on a host without lxcfs.
   */
  mounts(): Promise<readonly OciMount[]> {
    if (!this.options.enabled || lxcfsMissing() !== null) return Promise.resolve([]);
    return this.locks.run('', async () => {
      await this.serve();
      return FILES.map((destination) => ({
        destination,
        type: 'bind',
        source: this.file(destination),
        options: ['bind', 'ro', 'nosuid', 'nodev', 'noexec', 'rslave'],
      }));
    });
  }

  /** Brings it back where it died, and takes all of it away where no container runs. */
  look(): Promise<void> {
    return this.locks.run('', async () => {
      if (namesIn(this.directory).length === 0) return;
      if (this.options.wanted()) await this.serve();
      else await this.end();
    });
  }

  /** The process that serves, or null. */
  serving(): ProcessIdentity | null {
    const identity = this.record();
    return identity !== null && isAlive(identity) ? identity : null;
  }

  private file(path: string): string {
    return join(this.directory, 'files', nameOf(path));
  }

  /** Its files lie over the kernel's when it returns, or it was told that they cannot. */
  private async serve(): Promise<void> {
    const now = this.serving();
    if (now !== null && now.pid === this.covering) return;
    // One that an earlier life of ours began is taken to have lived long enough.
    if (now === null && this.covering !== null && performance.now() < this.begun + WHILE_MS) this.slower();
    this.covering = null;
    this.layFiles();
    if (now === null && performance.now() < this.begun + this.pauseMs) return;
    try {
      const identity = now ?? (await this.begin());
      this.cover((path) => join(this.mountPoint, path), 'fuse.lxcfs');
      this.covering = identity.pid;
    } catch (error) {
      this.slower();
      this.options.tell(
        'lxcfs does not serve: containers see memory, processors, uptime and load of their host',
        error,
      );
    }
  }

  private slower(): void {
    this.pauseMs = Math.min(BACK_OFF_MS[1], Math.max(BACK_OFF_MS[0], this.pauseMs * 2));
  }

  /** The kernel's files lie where a container that is made now looks, and over what a dead one left. */
  private layFiles(): void {
    mkdirSync(join(this.directory, 'files'), { recursive: true, mode: 0o711 });
    const there = new Set(mounts().map(({ target }) => target));
    for (const path of FILES) {
      const target = this.file(path);
      if (there.has(target)) continue;
      writeFileSync(target, '');
      readOnlyMount(path, target);
      mount('none', target, null, MS.SHARED);
    }
    if (this.serving() === null) this.cover((path) => path, null);
  }

  /** Lays files over those that lie there, where none of that kind does. @param type of lxcfs' file system; null for those of the kernel */
  private cover(source: (path: string) => string, type: 'fuse.lxcfs' | null): void {
    // Of those at one place the last lies on top.
    const top = new Map(mounts().map((entry) => [entry.target, entry.type]));
    for (const path of FILES) {
      const isLxcfs = top.get(this.file(path)) === 'fuse.lxcfs';
      if (isLxcfs !== (type !== null)) readOnlyMount(source(path), this.file(path));
    }
  }

  private async begin(): Promise<ProcessIdentity> {
    if (this.record() !== null) this.options.tell('lxcfs has ended; it is started again');
    this.begun = performance.now();
    await this.endProcesses();
    umountAll(this.mountPoint);
    mkdirSync(this.mountPoint, { recursive: true, mode: 0o711 });
    const log = openSync(join(this.directory, 'lxcfs.log'), 'w', 0o600);
    try {
      const child = spawn('lxcfs', this.args(), {
        detached: true, // it outlives us, as the containers do
        stdio: ['ignore', log, log],
        cwd: '/',
      });
      await new Promise<void>((started, failed) => child.once('spawn', started).once('error', failed));
      child.on('error', () => undefined);
      // Of one that an earlier life of ours began, the next look tells.
      child.once(
        'exit',
        () => void this.look().catch((error: unknown) => this.options.tell('lxcfs ended', error)),
      );
      child.unref();
      const identity = child.pid === undefined ? null : processIdentity(child.pid);
      if (identity === null) throw this.failed('it ended at once');
      await writeFileAtomic(this.recordFile, JSON.stringify(identity), { durable: false });
      await this.served(identity);
      return identity;
    } finally {
      closeSync(log);
    }
  }

  private args(): string[] {
    const pid = join(this.directory, 'lxcfs.pid');
    const views = ['--enable-loadavg', '--enable-cfs', '--enable-pidfd'];
    return ['--foreground', ...views, `--pidfile=${pid}`, this.mountPoint];
  }

  private async served(identity: ProcessIdentity): Promise<void> {
    for (const end = performance.now() + SERVES_MS; ; await wait(5)) {
      if (!isAlive(identity)) throw this.failed('it ended');
      if (mounts().some(({ target, type }) => target === this.mountPoint && type === 'fuse.lxcfs')) {
        const text = await readFile(join(this.mountPoint, 'proc/meminfo'), 'utf8');
        if (text.startsWith('MemTotal:')) return;
      }
      if (performance.now() > end) throw this.failed(`it serves nothing after ${SERVES_MS / 1000} s`);
    }
  }

  private failed(why: string): RuntimeError {
    const words = readFileSync(join(this.directory, 'lxcfs.log'), 'utf8').trim().slice(-1000);
    return new RuntimeError('hostFault', `lxcfs: ${why}${words === '' ? '' : `: ${words}`}`, {
      remedy: 'look whether lxcfs and FUSE work on the host, or set lxcfs: false in agent.yaml',
    });
  }

  private async end(): Promise<void> {
    [this.covering, this.pauseMs] = [null, 0];
    await this.endProcesses();
    for (const path of FILES) umountAll(this.file(path));
    umountAll(this.mountPoint);
    rmSync(this.directory, { recursive: true, force: true });
  }

  private async endProcesses(): Promise<void> {
    const recorded = this.serving();
    // Also one of an agent that died before it could write the record: that argument is ours alone.
    const all = [...(recorded === null ? [] : [recorded]), ...processesWith(this.mountPoint)];
    for (const identity of all) await processEnd(identity);
    rmSync(this.recordFile, { force: true });
  }

  private record(): ProcessIdentity | null {
    try {
      return JSON.parse(readFileSync(this.recordFile, 'utf8')) as ProcessIdentity;
    } catch (error) {
      if (hasCode(error, 'ENOENT')) return null;
      throw error;
    }
  }
}
