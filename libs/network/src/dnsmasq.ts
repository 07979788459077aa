import { spawn } from 'node:child_process';
import { closeSync, existsSync, openSync, readFileSync } from 'node:fs';
import { chmod, mkdir, readFile, rm } from 'node:fs/promises';
import { Resolver } from 'node:dns/promises';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import {
  hasCode,
  isAlive,
  processEnd,
  processesWith,
  processIdentity,
  type ProcessIdentity,
  signalProcess,
  writeFileAtomic,
} from '@berth/linux';
import {
  dnsmasqConfig,
  dnsmasqHosts,
  dnsmasqLeases,
  type DnsmasqSettings,
  type Lease,
} from './dnsmasq-config.js';
import { NetworkError } from './network-error.js';
import { hash } from './network-names.js';

/** What is known of a running dnsmasq; kept beside its configuration in the run folder. */
interface DnsmasqRecord {
  readonly identity: ProcessIdentity;
  /** Hash of the configuration it was started with. */
  readonly config: string;
  /** It is bound to this link; a bridge made anew needs a new process. */
  readonly bridgeIndex: number;
  /** Name of the content it is known to serve; null while that is not yet proven. */
  readonly serial: string | null;
}

export interface DnsmasqWanted extends Omit<DnsmasqSettings, 'hostsFile' | 'leasesFile'> {
  readonly bridgeIndex: number;
  readonly leases: readonly Lease[];
}

/** Its files are made anew after a boot. */
const readable = { mode: 0o644, durable: false } as const;

/**
 * One network's dnsmasq. It runs on its own (own session, no pipe to us), so it survives the agent, which finds it again
 * by pid, start time and boot id.
 */
export class Dnsmasq {
  private readonly configFile: string;
  private readonly recordFile: string;
  constructor(
    private readonly dir: string,
    private readonly binary = 'dnsmasq',
  ) {
    this.configFile = join(dir, 'dnsmasq.conf');
    this.recordFile = join(dir, 'dnsmasq.json');
  }

  /** Runs it with this configuration and returns when DHCP and DNS serve exactly these leases. @throws NetworkError. */
  async ensure(wanted: DnsmasqWanted): Promise<void> {
    const files = { hostsFile: join(this.dir, 'hosts'), leasesFile: join(this.dir, 'leases') };
    const config = dnsmasqConfig({ ...wanted, ...files });
    const configHash = hash(config, 16);
    const leases = dnsmasqLeases(wanted.leases);
    const serial = `_berth-${hash(leases, 16)}`;
    const record = await this.record();
    const fits = record !== null && record.config === configHash && record.bridgeIndex === wanted.bridgeIndex;
    const running = fits && isAlive(record.identity);
    if (running && record.serial === serial) return;

    await mkdir(this.dir, { recursive: true, mode: 0o755 });
    await chmod(this.dir, 0o755); // whatever the umask
    const hosts = dnsmasqHosts(wanted.leases, { name: serial, address: wanted.gateway });
    await writeFileAtomic(files.hostsFile, hosts, readable);
    await writeFileAtomic(files.leasesFile, leases, readable);
    let identity: ProcessIdentity;
    if (running) {
      identity = record.identity;
      signalProcess(identity, 'SIGHUP');
    } else {
      await this.stop();
      await writeFileAtomic(this.configFile, config, readable);
      identity = await this.start();
    }
    const next = { identity, config: configHash, bridgeIndex: wanted.bridgeIndex };
    await this.keep({ ...next, serial: null });
    await this.served(identity, wanted.gateway, `${serial}.${wanted.domain}`);
    await this.keep({ ...next, serial });
  }

  /** Ends it (also one whose record was lost) and takes its files away. */
  async remove(): Promise<void> {
    await this.stop();
    await rm(this.dir, { recursive: true, force: true });
  }

  private async stop(): Promise<void> {
    const record = await this.record();
    const found = record !== null && isAlive(record.identity) ? [record.identity] : [];
    // Also one of an agent that died before it could write the record.
    for (const identity of [...found, ...processesWith(this.argument())]) await processEnd(identity);
    await rm(this.recordFile, { force: true });
  }

  private argument(): string {
    return `--conf-file=${this.configFile}`;
  }

  private async start(): Promise<ProcessIdentity> {
    const log = openSync(join(this.dir, 'dnsmasq.log'), 'w', 0o600);
    try {
      const child = spawn(this.binary, [this.argument()], {
        detached: true,
        stdio: ['ignore', log, log],
        cwd: '/',
      });
      await new Promise<void>((started, failed) => child.once('spawn', started).once('error', failed));
      child.on('error', () => undefined);
      child.unref();
      const identity = child.pid === undefined ? null : processIdentity(child.pid);
      if (identity === null) throw await this.failed('it ended at once');
      return identity;
    } catch (error) {
      if (error instanceof NetworkError) throw error;
      throw await this.failed(error instanceof Error ? error.message : String(error), error);
    } finally {
      closeSync(log);
    }
  }

  /** Asks for a name that exists only in the new content until it resolves, or the process is gone, for at most 5 s. */
  private async served(identity: ProcessIdentity, gateway: string, name: string): Promise<void> {
    const end = performance.now() + 5000;
    for (let pause = 2; performance.now() < end; pause = Math.min(50, pause * 2)) {
      if (!isAlive(identity)) throw await this.failed('it ended');
      const resolver = new Resolver({ timeout: 250, tries: 1 });
      resolver.setServers([gateway]);
      if ((await resolver.resolve4(name).catch((): string[] => [])).includes(gateway)) return;
      await wait(pause);
    }
    throw await this.failed('it does not serve its names after 5 s');
  }

  private async failed(what: string, cause?: unknown): Promise<NetworkError> {
    const log = await readFile(join(this.dir, 'dnsmasq.log'), 'utf8').catch(() => '');
    const words = log.trim().split('\n').slice(-3).join('; ');
    return new NetworkError(
      'dnsmasqFailed',
      `dnsmasq for ${this.dir}: ${what}${words === '' ? '' : `: ${words}`}`,
      'install dnsmasq-base; see that nothing else on this host serves DNS or DHCP on all addresses',
      cause,
    );
  }

  private async record(): Promise<DnsmasqRecord | null> {
    try {
      return JSON.parse(await readFile(this.recordFile, 'utf8')) as DnsmasqRecord;
    } catch (error) {
      if (hasCode(error, 'ENOENT') || error instanceof SyntaxError) return null;
      throw error;
    }
  }

  private keep(record: DnsmasqRecord): Promise<void> {
    return writeFileAtomic(this.recordFile, JSON.stringify(record), { durable: false });
  }
}

/** The host's own resolver configuration, when it names a server. */
export function hostResolvFile(path = '/etc/resolv.conf'): string | null {
  return existsSync(path) && /^\s*nameserver\s+\S/m.test(readFileSync(path, 'utf8')) ? path : null;
}
