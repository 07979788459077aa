// Programs and sockets: started without a shell, ended by pid.
import { spawn } from 'node:child_process';
import { openSync, readFileSync } from 'node:fs';
import http from 'node:http';
import { now, pause } from './measure.mjs';

/** Runs a program; its output, or an error with what it said. */
export function run(command, args, { env = process.env, input } = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      env,
      stdio: [input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'],
    });
    let out = '';
    let err = '';
    child.stdout.on('data', (chunk) => (out += chunk));
    child.stderr.on('data', (chunk) => (err += chunk));
    child.once('error', reject);
    // Not 'close': what it left running may hold its output open.
    child.once('exit', (code) =>
      code === 0
        ? resolve(out)
        : reject(new Error(`${command} ${args.join(' ')} ended with ${code}: ${(err || out).slice(-600)}`)),
    );
    child.stdin?.end(input);
  });
}

const childrenOf = (pid) =>
  readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean).map(Number);

/** A daemon of ours. `end` asks, then forces. */
function daemon(command, args, logFile, env = process.env) {
  const log = openSync(logFile, 'a');
  const child = spawn(command, args, { env, stdio: ['ignore', log, log], detached: true });
  let failed = null;
  const ended = new Promise((resolve) => {
    child.once('exit', resolve);
    child.once('error', (error) => resolve((failed = error)));
  });
  return {
    pid: child.pid,
    get error() {
      return (
        failed ??
        (child.exitCode === null
          ? null
          : new Error(`${command} ended with ${child.exitCode}; see ${logFile}`))
      );
    },
    async end(ms = 15_000) {
      if (child.exitCode !== null || failed !== null) return;
      // What unshare started is asked itself; unshare would end it by force.
      const inner = childrenOf(child.pid);
      for (const pid of inner.length > 0 ? inner : [child.pid]) process.kill(pid, 'SIGTERM');
      const forced = setTimeout(() => child.kill('SIGKILL'), ms);
      await ended;
      clearTimeout(forced);
    },
  };
}

/**
 * A daemon in namespaces of its own (net, mount, pid), which take its bridges, rules, mounts and helpers with them. `/sys`
 * shows the new network, with the cgroups of the machine; a table of routes is there before anybody looks for one.
 */
export const isolatedDaemon = (command, args, logFile, env) =>
  daemon(
    'unshare',
    [
      ...[
        '--net',
        '--mount',
        '--pid',
        '--fork',
        '--kill-child',
        '--mount-proc',
        '--',
        'sh',
        '-ec',
        isolated,
        'bench',
      ],
      ...[command, ...args],
    ],
    logFile,
    env,
  );

const isolated = `kept=$(mktemp -d)
mount --rbind /sys/fs/cgroup $kept
mount -t sysfs sysfs /sys
mount --rbind $kept /sys/fs/cgroup
umount -l $kept && rmdir $kept
ip link set lo up
ip route add blackhole 192.0.2.0/24
exec "$@"`;

/** Unmounts whatever is left below a folder. */
export async function unmountBelow(folder) {
  const points = readFileSync('/proc/self/mounts', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[1] ?? '')
    .filter((point) => point.startsWith(`${folder}/`));
  for (const point of points.reverse()) await run('umount', ['-l', point]).catch(() => undefined);
}

/** Asks until there is an answer that is not undefined; fails with what was wrong last. */
export async function until(what, ms, ask) {
  const end = now() + ms;
  for (let last; ;) {
    try {
      const answer = await ask();
      if (answer !== undefined) return answer;
    } catch (error) {
      last = error;
    }
    if (now() > end)
      throw new Error(`waited ${ms} ms in vain: ${what}${last === undefined ? '' : ` (${last.message})`}`);
    await pause(20);
  }
}

/** JSON over HTTP with connections kept: `where` is `{ socketPath }` or `{ host, port }`. */
export function client(where, headers = {}) {
  const agent = new http.Agent({ keepAlive: true, maxSockets: 64 });
  return (method, path, body, type = 'application/json') =>
    new Promise((resolve, reject) => {
      const raw = body === undefined || Buffer.isBuffer(body) ? body : Buffer.from(JSON.stringify(body));
      const request = http.request(
        {
          ...where,
          agent,
          method,
          path,
          headers: {
            host: 'localhost',
            ...headers,
            ...(raw === undefined ? {} : { 'content-type': type, 'content-length': raw.length }),
          },
        },
        (answer) => {
          const parts = [];
          answer.on('data', (part) => parts.push(part));
          answer.once('error', reject);
          answer.once('end', () => {
            const text = Buffer.concat(parts).toString();
            if (answer.statusCode >= 400)
              return reject(new Error(`${method} ${path}: ${answer.statusCode} ${text.slice(0, 400)}`));
            const json = /json/.test(answer.headers['content-type'] ?? '');
            resolve(json ? JSON.parse(text) : text);
          });
        },
      );
      request.once('error', reject);
      request.end(raw);
    });
}
