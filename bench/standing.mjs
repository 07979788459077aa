// What stands on a host of one Berth, and what its programs use. Read from the kernel, so that nobody's word is taken for it.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const names = (directory) => (existsSync(directory) ? readdirSync(directory) : []);
const lines = (path) => readFileSync(path, 'utf8').split('\n').filter(Boolean);
/** What `read` gives, or `otherwise` where it ended or went away meanwhile. */
function or(otherwise, read) {
  try {
    return read();
  } catch {
    return otherwise;
  }
}

/** Processes of the machine: pid, pid of the parent, arguments. */
export const processes = () =>
  names('/proc').flatMap((name) =>
    or([], () => {
      if (!/^\d+$/.test(name)) return [];
      const [, parent] = /^\d+ \(.*\) \S (\d+) /s.exec(readFileSync(`/proc/${name}/stat`, 'utf8'));
      const text = readFileSync(`/proc/${name}/cmdline`, 'latin1').replaceAll('\0', ' ').trim();
      return [{ pid: Number(name), parent: Number(parent), text }];
    }),
  );

/** Pids of this Berth's agent, API and Postgres with its sessions. @throws where one of them does not run */
export function servers({ root }) {
  const all = processes();
  const ours = ({ pid }) =>
    or(false, () =>
      readFileSync(`/proc/${pid}/environ`, 'latin1').split('\0').includes(`BERTH_ROOT=${root}`),
    );
  const of = (what, which) => {
    const found = all.find(which);
    if (found === undefined) throw new Error(`no ${what} runs below ${root}`);
    return found.pid;
  };
  const program = (name) =>
    of(
      name,
      (one) => one.text.includes(`apps/${name}/dist/main.js`) && /\bnode\b/.test(one.text) && ours(one),
    );
  const postgres = of('Postgres', ({ text }) => /^\S*\/postgres -D /.test(text) && text.includes(`${root}/`));
  const sessions = all.filter(({ parent }) => parent === postgres).map(({ pid }) => pid);
  return { agent: [program('agent')], api: [program('api')], postgres: [postgres, ...sessions] };
}

/** Processor time of processes so far, and of those they waited for, milliseconds (proc(5); USER_HZ is 100). */
export const cpuMs = (pids) =>
  10 *
  pids
    .flatMap((pid) =>
      or([], () => readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1).split(' ').slice(11, 15)),
    )
    .reduce((sum, ticks) => sum + Number(ticks), 0);

/** Memory of processes in proportion to who shares it, KiB. */
export const pssKiB = (pids) =>
  pids
    .map((pid) =>
      or(0, () => Number(/^Pss:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'))[1])),
    )
    .reduce((sum, kib) => sum + kib, 0);

export const descriptors = (pid) => names(`/proc/${pid}/fd`).length;

/** Where containers of a host have files and directories. Its journal remembers them by design. */
const places = [
  ...['bundles', 'roots', 'scratch', 'views', 'namespaces', 'mounts', 'devices', 'oci'].map(
    (name) => `run/berth/containers/${name}`,
  ),
  ...['', '/exits', '/persist', '/attach'].map((name) => `run/berth/containers/monitor${name}`),
  ...[
    'var/lib/berth/containers/workloads',
    'var/lib/berth/containers/epochs',
    'var/lib/berth/volumes',
    'var/log/berth/containers',
  ],
];

/** All that containers make on their host, by kind. */
export function standing({ root }) {
  const own = (text) => text.includes(`${root}/`);
  const groups = lines('/proc/self/mounts')
    .map((line) => line.split(' '))
    .filter(([, , type]) => type === 'cgroup' || type === 'cgroup2')
    .flatMap(([, path]) =>
      names(path)
        .filter((name) => name.startsWith('berth-'))
        .map((name) => join(path, name)),
    );
  const backing = (name) => or('', () => readFileSync(`/sys/block/${name}/loop/backing_file`, 'utf8'));
  return {
    links: names('/sys/class/net'),
    mounts: lines('/proc/self/mountinfo')
      .filter(own)
      .map((line) => line.split(' ')[4]),
    groups: groups.flatMap((group) =>
      names(group)
        .filter((name) => /^[0-9a-f-]{36}\./.test(name))
        .map((name) => join(group, name)),
    ),
    processes: processes()
      .filter(({ text }) => own(text) && /conmon|runc|crun/.test(text))
      .map(({ pid, text }) => `${pid} ${text}`),
    loops: names('/sys/block').filter((name) => name.startsWith('loop') && own(backing(name))),
    keys: or([], () => lines('/proc/keys').filter((line) => line.includes(' _ses.'))).map((line) =>
      line.trim().split(/\s+/).at(-2),
    ),
    files: places.flatMap((place) => names(join(root, place)).map((name) => join(place, name))),
  };
}

/** What one look has beyond another. */
export const beyond = (before, after) =>
  Object.entries(after).flatMap(([kind, all]) => {
    const had = new Set(before[kind]);
    return all.filter((one) => !had.has(one)).map((one) => `${kind}: ${one}`);
  });
