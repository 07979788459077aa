import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';

const exec = promisify(execFile);

/** User and password that {@link Registry} lets in; the line of its htpasswd is bcrypt's, as the registry takes no other. */
export const registryUser = {
  username: 'puller',
  password: 'pull-only-s3cret',
  line: 'puller:$2y$04$9n/sPLnow1g..afGigQIseAGDAhIBf.z.PlKfBp4iyQq0Xy9ayiya\n',
};

/** Debian's docker-registry (distribution 2.8) on loopback, with a store of its own. */
export class Registry {
  private constructor(
    /** `127.0.0.1:port`: the domain of its references. */
    readonly domain: string,
    private readonly dir: string,
    private readonly server: ChildProcess,
    private readonly signsIn: boolean,
  ) {}

  /** @param o.signIn whether {@link registryUser} must sign in, else nobody */
  static async start(o: { readonly signIn: boolean }): Promise<Registry> {
    const dir = mkdtempSync(join(tmpdir(), 'berth-registry-'));
    const users = join(dir, 'htpasswd');
    writeFileSync(users, registryUser.line);
    const config = {
      version: '0.1',
      log: { level: 'info', accesslog: { disabled: true } },
      storage: { filesystem: { rootdirectory: join(dir, 'store') } },
      // A port of the kernel's choice, which its log tells.
      http: { addr: '127.0.0.1:0' },
      ...(o.signIn ? { auth: { htpasswd: { realm: 'test', path: users } } } : {}),
    };
    const file = join(dir, 'config.yml');
    // JSON is YAML.
    writeFileSync(file, JSON.stringify(config));
    const server = spawn('docker-registry', ['serve', file], { stdio: ['ignore', 'ignore', 'pipe'] });
    const ended = new Promise<never>((_, reject) => {
      server.once('error', reject);
      server.once('exit', (code) => reject(new Error(`docker-registry ended with ${code}`)));
    });
    const port = new Promise<string>((resolve) => {
      createInterface(server.stderr).on('line', (line) => {
        const said = /listening on 127\.0\.0\.1:(\d+)/.exec(line);
        if (said?.[1] !== undefined) resolve(said[1]);
      });
    });
    // Also when it ends later, as it does at the end of each test.
    ended.catch(() => undefined);
    return new Registry(`127.0.0.1:${await Promise.race([port, ended])}`, dir, server, o.signIn);
  }

  /** Has skopeo copy into it. `to` is `repository:tag`, `more` its options. */
  async push(from: string, to: string, more: readonly string[] = []): Promise<void> {
    const { username, password } = registryUser;
    const who = this.signsIn ? ['--dest-creds', `${username}:${password}`] : [];
    const target = `docker://${this.domain}/${to}`;
    await exec('skopeo', [
      ...['copy', '--insecure-policy', '--dest-tls-verify=false'],
      ...[...who, ...more, from, target],
    ]);
  }

  /** PUTs a manifest as it is. */
  async manifest(repository: string, name: string, mediaType: string, bytes: Buffer): Promise<void> {
    const answer = await fetch(`http://${this.domain}/v2/${repository}/manifests/${name}`, {
      method: 'PUT',
      headers: { 'content-type': mediaType },
      body: new Uint8Array(bytes),
    });
    if (!answer.ok) throw new Error(`${name}: ${answer.status} ${await answer.text()}`);
  }

  async stop(): Promise<void> {
    const gone = new Promise((resolve) => this.server.once('exit', resolve));
    if (this.server.exitCode === null && this.server.kill('SIGTERM')) await gone;
    rmSync(this.dir, { recursive: true, force: true });
  }
}
