/** What a probe saw; plain data, so that the judgement on it can be tested without a machine. */
export interface Findings {
  readonly node: string;
  readonly uid: number;
  readonly arch: string;
  /** Wanted Debian packages that are not installed. */
  readonly packagesMissing: readonly string[];
  readonly memoryMiB: number;
  readonly cpus: number;
  readonly diskFreeMiB: number;
  readonly stateDir: string;
  readonly kernel: string;
  readonly cgroup: 'v1' | 'v2' | 'hybrid' | 'none';
  /** Each: null when it works, else why not. */
  readonly overlayfs: string | null;
  readonly idmappedMounts: string | null;
  readonly userNamespaces: string | null;
  readonly links: string | null;
  readonly tun: string | null;
  readonly nftables: string | null;
  readonly kvm: string | null;
  readonly cpuFlags: readonly string[];
  readonly ipForward: boolean;
  /** `net.bridge.bridge-nf-call-iptables`, null where the module is not loaded. */
  readonly bridgeNfCall: boolean | null;
  /** iptables' FORWARD chain drops by default (Docker does that). */
  readonly forwardDrops: boolean;
  readonly postgres: string | null;
  readonly libvirt: 'answers' | 'absent' | 'notInstalled';
  readonly running: boolean;
  /** Port and what holds it. */
  readonly portsTaken: readonly { readonly port: number; readonly key: string; readonly reason: string }[];
}

export type Verdict = 'ok' | 'warn' | 'fail';

/** One line of the doctor. */
export interface Check {
  readonly name: string;
  readonly verdict: Verdict;
  readonly found: string;
  /** What to do; empty when nothing is. */
  readonly remedy: string;
}

const ok = (name: string, found: string): Check => ({ name, verdict: 'ok', found, remedy: '' });
const bad = (verdict: 'warn' | 'fail', name: string, found: string, remedy: string): Check => ({
  name,
  verdict,
  found,
  remedy,
});
const works = (name: string, why: string | null, verdict: 'warn' | 'fail', remedy: string): Check =>
  why === null ? ok(name, 'works') : bad(verdict, name, why, remedy);

/** Judges what was found. Pure. `fail`: Berth cannot run here; `warn`: it runs, with the stated limit. */
export function checksFrom(f: Findings): Check[] {
  return [
    ...softwareChecks(f),
    ...machineChecks(f),
    ...kernelChecks(f),
    ...networkChecks(f),
    ...serviceChecks(f),
  ];
}

/** Whether a Node version (`v20.19.0`) is new enough. */
export function nodeSuffices(version: string): boolean {
  const [major = 0, minor = 0] = version.replace(/^v/, '').split('.').map(Number);
  return major > 20 || (major === 20 && minor >= 19);
}

function softwareChecks(f: Findings): Check[] {
  return [
    nodeSuffices(f.node) ? ok('node', f.node) : bad('fail', 'node', f.node, 'install Node.js 20.19 or newer'),
    f.packagesMissing.length === 0
      ? ok('packages', 'all installed')
      : bad(
          'fail',
          'packages',
          `missing: ${f.packagesMissing.join(' ')}`,
          `apt-get install ${f.packagesMissing.join(' ')}`,
        ),
    f.uid === 0 ? ok('user', 'root') : bad('fail', 'user', `uid ${f.uid}`, 'run as root (sudo)'),
  ];
}

function machineChecks(f: Findings): Check[] {
  const disk = `${Math.floor(f.diskFreeMiB / 1024)} GiB free at ${f.stateDir}`;
  return [
    f.arch === 'x64' || f.arch === 'arm64'
      ? ok('machine', `${f.arch}, ${f.cpus} processors, ${f.memoryMiB} MiB`)
      : bad('fail', 'machine', f.arch, 'use an x86_64 or aarch64 machine'),
    f.diskFreeMiB < 1024
      ? bad('fail', 'disk', disk, 'make at least 1 GiB free, or set BERTH_ROOT to a larger file system')
      : f.diskFreeMiB < 10 * 1024
        ? bad('warn', 'disk', disk, 'images and root disks need room: 10 GiB or more is sensible')
        : ok('disk', disk),
    kvmCheck(f),
  ];
}

function kvmCheck(f: Findings): Check {
  const flag = f.cpuFlags.find((x) => x === 'vmx' || x === 'svm');
  if (f.kvm === null)
    return ok(
      'kvm',
      `/dev/kvm opens (${flag ?? 'no CPU flag seen'}); the agent measures whether guests run under it`,
    );
  const remedy =
    flag === undefined
      ? 'guests run in emulation (TCG), which is slow and no boundary between tenants; enable VT-x or AMD-V in the firmware, or nesting in the outer hypervisor'
      : 'modprobe kvm_intel or kvm_amd; guests run in emulation until then';
  return bad('warn', 'kvm', f.kvm, remedy);
}

function kernelChecks(f: Findings): Check[] {
  return [
    ok('kernel', f.kernel),
    f.cgroup === 'none'
      ? bad('fail', 'cgroups', 'not mounted', 'mount -t cgroup2 cgroup2 /sys/fs/cgroup')
      : ok('cgroups', f.cgroup),
    works('overlayfs', f.overlayfs, 'fail', 'modprobe overlay; a kernel with CONFIG_OVERLAY_FS is needed'),
    works('user namespaces', f.userNamespaces, 'fail', 'sysctl -w user.max_user_namespaces=28000'),
    works(
      'idmapped mounts',
      f.idmappedMounts,
      'fail',
      'needs Linux 5.19 or newer and a file system that supports them (ext4, xfs, btrfs)',
    ),
  ];
}

function networkChecks(f: Findings): Check[] {
  return [
    works('veth, bridge', f.links, 'fail', 'modprobe veth bridge'),
    works('tun', f.tun, 'fail', 'modprobe tun; in a container pass /dev/net/tun'),
    works('nftables', f.nftables, 'fail', 'modprobe nf_tables; apt-get install nftables'),
    f.ipForward
      ? ok('ip_forward', 'on')
      : bad(
          'warn',
          'ip_forward',
          'off',
          'Berth turns it on when the first network is made; keep it: sysctl -w net.ipv4.ip_forward=1',
        ),
    f.forwardDrops && f.bridgeNfCall === true
      ? bad(
          'warn',
          'bridge filter',
          'FORWARD drops by default and bridged packets pass iptables (Docker or CNI)',
          'allow Berth’s bridges: iptables -I DOCKER-USER -i berth+ -j ACCEPT (and -o berth+), or sysctl -w net.bridge.bridge-nf-call-iptables=0',
        )
      : ok(
          'bridge filter',
          f.forwardDrops ? 'FORWARD drops by default, bridged packets do not pass it' : 'nothing in the way',
        ),
  ];
}

function serviceChecks(f: Findings): Check[] {
  const libvirt = {
    answers: ok('libvirt', 'a daemon answers'),
    absent: ok('libvirt', 'no daemon runs; Berth starts its own'),
    notInstalled: bad(
      'fail',
      'libvirt',
      'libvirtd is not installed',
      'apt-get install libvirt-daemon-system',
    ),
  }[f.libvirt];
  const ports = f.running
    ? [ok('ports', 'in use by Berth, which is running')]
    : f.portsTaken.length === 0
      ? [ok('ports', 'free')]
      : f.portsTaken.map((p) =>
          bad(
            'fail',
            `port ${p.port}`,
            p.reason,
            `end what listens there (ss -ltnp), or set another ${p.key}`,
          ),
        );
  return [
    f.postgres === null
      ? ok('postgres', 'usable')
      : bad('fail', 'postgres', f.postgres, 'apt-get install postgresql-15, or set DATABASE_URL'),
    libvirt,
    ...ports,
  ];
}
