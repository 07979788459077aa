import { execFileSync } from 'node:child_process';
import { existsSync, lstatSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { mounts, Netlink, type MountEntry } from '@berth/linux';

/** Things of one kind, by a key that is theirs alone, each with words that let a reader find where it came from. */
export type Things = ReadonlyMap<string, string>;
/** What there is, by kind. */
export type State = Readonly<Record<string, Things>>;

/** Everything that a file could leave on its test machine; processes apart, which know whose child they are. */
export function machineState(): State {
  const table = mounts();
  return {
    ...network(),
    'nft rules': nftRules(),
    'listening sockets': sockets(),
    mounts: mountPoints(table),
    cgroups: cgroups(table),
    domains: domains(),
    'loop devices': loopDevices(),
    files: files(table),
    // Keys have no namespace: those of a neighbour cannot be told from ours.
    keys: process.env['BERTH_TEST_ALONE'] === '1' ? keys() : new Map(),
  };
}

const named = (names: Iterable<string>): Things => new Map([...names].map((name) => [name, name]));
const lines = (text: string): string[] => text.split('\n').filter((line) => line !== '');

/** Text of a file, or none where it is gone or never was. */
function text(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

/** Entries of a directory, or none. */
function entries(path: string): string[] {
  try {
    return readdirSync(path);
  } catch {
    return [];
  }
}

function network(): { links: Things; addresses: Things; routes: Things } {
  return Netlink.with(undefined, (netlink) => {
    const links = new Map(netlink.links().map((l) => [l.index, l.name]));
    const on = (index: number): string => `on ${links.get(index) ?? index}`;
    // The address, index, prefix length, scope, flags and name of each line are hexadecimal but the name.
    const v6 = lines(text('/proc/net/if_inet6')).map((line) => line.split(/\s+/));
    return {
      links: named(links.values()),
      addresses: named([
        ...netlink.addresses().map((a) => `${a.address}/${a.prefix} ${on(a.linkIndex)}`),
        ...v6.map(([address, , prefix, , , name]) => `${address}/${parseInt(prefix ?? '', 16)} on ${name}`),
      ]),
      routes: named(netlink.routes().map((r) => JSON.stringify(r))),
    };
  });
}

/** Every line of the ruleset with the table and chain it stands in, and the tables of the older interface. */
function nftRules(): Things {
  const ruleset = execFileSync('nft', ['--stateless', 'list', 'ruleset'], { encoding: 'utf8' });
  const inside: string[] = [];
  const found: string[] = [];
  for (const line of lines(ruleset).map((l) => l.trim())) {
    if (line === '}') inside.pop();
    else if (line.endsWith('{')) found.push([...inside, line.slice(0, -2)].join(', '));
    else found.push([...inside, line].join(', '));
    if (line.endsWith('{')) inside.push(line.slice(0, -2));
  }
  for (const version of ['', '6'])
    for (const table of lines(text(`/proc/net/ip${version}_tables_names`)))
      found.push(`ip${version}tables ${table}`);
  return named(found);
}

const LISTEN = '0A';
const SO_ACCEPTCON = 0x10000;

/** Sockets that wait for others: TCP listeners, bound UDP, raw and packet sockets, named unix sockets (proc_net(5)). */
function sockets(): Things {
  const rows = (name: string): string[][] =>
    lines(text(`/proc/net/${name}`))
      .slice(1)
      .map((line) => line.trim().split(/\s+/));
  const inet = (name: string, wanted: (state: string) => boolean): string[] =>
    rows(name)
      .filter((row) => wanted(row[3] ?? ''))
      .map((row) => `${name} ${endpoint(row[1] ?? '')}`);
  const unix = rows('unix').filter(
    (row) => row[7] !== undefined || parseInt(row[3] ?? '', 16) & SO_ACCEPTCON,
  );
  return named([
    ...['tcp', 'tcp6'].flatMap((name) => inet(name, (state) => state === LISTEN)),
    ...['udp', 'udp6', 'raw', 'raw6'].flatMap((name) => inet(name, () => true)),
    ...rows('packet').map((row) => `packet socket ${row[8]}`),
    ...unix
      .filter((row) => parseInt(row[3] ?? '', 16) & SO_ACCEPTCON || row[4] === '0002')
      .map((row) => `unix ${row[7] ?? `(inode ${row[6]})`}`),
  ]);
}

/** `0100007F:1F90` is 127.0.0.1:8080; of IPv6 the port alone is put into words. */
function endpoint(hex: string): string {
  const [address = '', port = ''] = hex.split(':');
  const bytes = Buffer.from(address, 'hex').reverse();
  return `${bytes.length === 4 ? bytes.join('.') : address}:${parseInt(port, 16)}`;
}

/** Each mount; of several stacked at one place each counts. A pinned namespace is a mount too. */
function mountPoints(table: readonly MountEntry[]): Things {
  return new Map(
    table.map((m) => {
      const what = m.type === 'nsfs' ? `namespace ${m.root}` : `${m.type} ${m.source} ${m.root}`;
      return [String(m.id), `${m.target} (${what})`];
    }),
  );
}

function cgroups(table: readonly MountEntry[]): Things {
  const walk = (dir: string): string[] =>
    readdirSync(dir, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .flatMap((entry) => [join(dir, entry.name), ...walkGone(join(dir, entry.name))]);
  // A group may go while it is looked at.
  const walkGone = (dir: string): string[] => {
    try {
      return walk(dir);
    } catch {
      return [];
    }
  };
  return named(table.filter((m) => /^cgroup2?$/.test(m.type)).flatMap((m) => walkGone(m.target)));
}

/** Domains and networks that libvirt knows, by the files it keeps of them: also when no daemon runs to be asked. */
function domains(): Things {
  const dirs = [
    '/etc/libvirt/qemu',
    '/run/libvirt/qemu',
    '/etc/libvirt/qemu/networks',
    '/run/libvirt/network',
  ];
  return named(
    dirs.flatMap((dir) =>
      entries(dir)
        .filter((n) => n.endsWith('.xml'))
        .map((name) => join(dir, name))
        .filter((path) => !onRealDisk(path)),
    ),
  );
}

/** Whether a file shines through from the real machine, where others may make and remove it meanwhile. */
function onRealDisk(path: string): boolean {
  return entries('/.machine/disks').some((name) => {
    const disk = join('/.machine/disks', name);
    const at = text(join(disk, 'at')).replace(/\/$/, '');
    return path.startsWith(`${at}/`) && existsSync(join(disk, 'lower', path.slice(at.length)));
  });
}

/** Loop devices are the kernel's, without a namespace: one whose file is on no disk of ours is a neighbour's. */
function loopDevices(): Things {
  const found = entries('/sys/block')
    .filter((name) => name.startsWith('loop'))
    .map((name) => [name, text(`/sys/block/${name}/loop/backing_file`).trim()] as const)
    .filter(([, file]) => file !== '' && (file.endsWith(' (deleted)') || existsSync(file)));
  return new Map(found.map(([name, file]) => [name, `/dev/${name} (${file})`]));
}

function keys(): Things {
  const all = lines(text('/proc/keys')).map((line) => line.trim().split(/\s+/));
  return new Map(all.map((key) => [key[0] ?? '', `key ${key[0]} ${key.slice(7).join(' ')}`]));
}

/** Places that begin empty or nearly so, whose content is compared whole. */
const WRITTEN = ['/tmp', '/var/tmp', '/run', '/dev'];

/** Files of the temporary places, and whatever else was written, changed or deleted on a disk. */
function files(table: readonly MountEntry[]): Things {
  const targets = new Set(table.map((m) => m.target));
  const found: string[] = [];
  const walk = (dir: string, each: (path: string, directory: boolean) => void): void => {
    for (const name of entries(dir)) {
      const path = join(dir, name);
      const directory = lstatSync(path, { throwIfNoEntry: false })?.isDirectory();
      if (directory === undefined) continue;
      each(path, directory);
      // What is mounted there has been told, and may be the whole repository.
      if (directory && !targets.has(path)) walk(path, each);
    }
  };
  for (const place of [...WRITTEN, ...targets].filter((p) => /^\/dev\/shm$/.test(p) || WRITTEN.includes(p)))
    walk(place, (path) => found.push(path));
  for (const disk of entries('/.machine/disks').map((name) => join('/.machine/disks', name))) {
    const [at, upper, lower] = ['at', 'upper', 'lower'].map((name) => join(disk, name)) as [
      string,
      string,
      string,
    ];
    const on = text(at).replace(/\/$/, '');
    walk(upper, (path, directory) => {
      const name = path.slice(upper.length);
      // A directory is also here when only something in it was changed.
      if (!directory || !existsSync(join(lower, name))) found.push(on + name);
    });
  }
  return named(found);
}
