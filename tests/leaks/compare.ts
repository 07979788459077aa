import type { State } from './machine.js';

/** One line for each thing that is different. */
export type Leaks = readonly string[];

/** What may stay from one file to the next, and why. Short, or the check says nothing. */
const MAY_STAY: readonly { readonly kind: string; readonly what: RegExp; readonly why: string }[] = [
  {
    kind: 'cgroups',
    what: /^\/sys\/fs\/cgroup\/([^/]+\/)?machine$/,
    why: 'libvirt makes the parent of all machines once and keeps it',
  },
  {
    kind: 'files',
    what: new RegExp(
      `^/run/libvirt(/${[
        'common(/system\\.token)?',
        'network(/autostarted|/nwfilter\\.leases)?',
        'qemu(/autostarted|/dbus|/passt|/slirp)?',
        'storage(/autostarted)?',
        ...['hostdevmgr', 'interface', 'nodedev', 'nwfilter', 'nwfilter-binding', 'secrets'],
      ].join('|/')})?$`,
    ),
    why: 'libvirtd makes its directories at its first start in a boot and keeps them',
  },
  {
    kind: 'open descriptors',
    what: /-> anon_inode:inotify$/,
    why: 'libuv opens one at the first watch of a process and keeps it, whoever closes the watches',
  },
  {
    kind: 'open descriptors',
    what: /-> anon_inode:\[event(poll|fd)\]$/,
    why: "threads of nx's native library, which ESLint's boundary rule loads into the worker",
  },
  {
    kind: 'files',
    what: /^\/(tmp\/\.nx|root\/\.cache\/swc-native-\d+|var\/lib\/containers\/cache)(\/|$)|^\/(root\/\.cache|var\/lib\/containers)$/,
    why: 'caches of development tools: nx, swc, skopeo',
  },
  {
    kind: 'files',
    what: /^\/run\/xtables\.lock$/,
    why: 'iptables makes its lock at its first call and keeps it',
  },
  {
    kind: 'files',
    what: /^\/run\/lxcfs(\/(controllers|root))?$/,
    why: 'lxcfs makes mount points for itself, in a mount namespace of its own, and keeps them',
  },
];

/** Kinds of which something may also go: the processes of the file before end when they please. */
const ONLY_ADDED = new Set(['processes', 'namespaces', 'open descriptors', 'listening sockets']);

export function compare(before: State, after: State): Leaks {
  const leaks: string[] = [];
  for (const [kind, things] of Object.entries(after)) {
    const earlier = before[kind] ?? new Map<string, string>();
    const stays = (words: string): boolean => MAY_STAY.some((m) => m.kind === kind && m.what.test(words));
    for (const [key, words] of things)
      if (!earlier.has(key) && !stays(words)) leaks.push(`  left in ${kind}: ${words}`);
    if (ONLY_ADDED.has(kind)) continue;
    for (const [key, words] of earlier)
      if (!things.has(key) && !stays(words)) leaks.push(`  gone from ${kind}: ${words}`);
  }
  return leaks;
}
