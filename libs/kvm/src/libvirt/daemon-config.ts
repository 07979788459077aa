/*
 * Configuration of libvirtd, virtlogd and its QEMU driver, written as data. libvirt's own files are `key = value` with
 * strings in double quotes that know no escape, so what cannot be quoted is refused.
 */

export type ConfigValue = string | number | boolean | readonly string[];
export type Config = Readonly<Record<string, ConfigValue>>;

/** Renders one file. @throws TypeError for a key or string that the format cannot carry. */
export function renderConfig(config: Config): string {
  return Object.entries(config)
    .map(([key, value]) => `${checkedKey(key)} = ${renderValue(key, value)}\n`)
    .join('');
}

function checkedKey(key: string): string {
  if (!/^[a-z][a-z0-9_]*$/.test(key)) throw new TypeError(`"${key}" is no configuration key`);
  return key;
}

function renderValue(key: string, value: ConfigValue): string {
  if (typeof value === 'boolean') return value ? '1' : '0';
  if (typeof value === 'number') {
    if (!Number.isSafeInteger(value)) throw new TypeError(`${key}: ${value} is no integer`);
    return String(value);
  }
  if (typeof value === 'string') return quoted(key, value);
  return `[ ${value.map((item) => quoted(key, item)).join(', ')} ]`;
}

function quoted(key: string, text: string): string {
  // eslint-disable-next-line no-control-regex -- refusing control characters is the point
  if (/["\u0000-\u001f\u007f]/.test(text))
    throw new TypeError(`${key}: ${JSON.stringify(text)} cannot be quoted`);
  return `"${text}"`;
}

export interface DaemonConfigOptions {
  /** Directory of the sockets; default `/run/libvirt`. */
  readonly socketDir?: string;
  /** Tells hosts that share one machine apart; libvirt reads the SMBIOS UUID where absent. */
  readonly hostUuid?: string;
  /** Account that QEMU runs as. */
  readonly qemuUser?: string;
  readonly qemuGroup?: string;
}

/** `libvirtd.conf`: root-only sockets without a login, enough workers for parallel starts. */
export function libvirtdConfig(options: DaemonConfigOptions = {}): Config {
  return {
    ...(options.socketDir === undefined ? {} : { unix_sock_dir: options.socketDir }),
    ...(options.hostUuid === undefined ? {} : { host_uuid: options.hostUuid, host_uuid_source: 'file' }),
    unix_sock_group: 'root',
    unix_sock_rw_perms: '0600',
    unix_sock_ro_perms: '0600',
    auth_unix_rw: 'none',
    auth_unix_ro: 'none',
    max_workers: 20,
    prio_workers: 5,
    // All of a host's machines are asked for at once after a restart, over one connection; by default 5 may wait.
    max_client_requests: 64,
    keepalive_interval: 5,
    keepalive_count: 5,
    log_level: 3,
    log_outputs: '3:stderr',
  };
}

/** `qemu.conf`: QEMU unprivileged, sandboxed by seccomp, its serial output bounded by virtlogd. */
export function qemuConfig(options: DaemonConfigOptions = {}): Config {
  return {
    user: options.qemuUser ?? 'libvirt-qemu',
    group: options.qemuGroup ?? 'kvm',
    dynamic_ownership: true,
    remember_owner: false,
    seccomp_sandbox: true,
    // AppArmor or SELinux would need policy for our directories; the account, the mount namespace and seccomp confine.
    security_driver: 'none',
    security_default_confined: false,
    namespaces: ['mount'],
    clear_emulator_capabilities: true,
    set_process_name: true,
    stdio_handler: 'logd',
    // Without it libvirt reads the features of a started guest's processor as a whole. With it, it asks for each of five hundred by a
    // command of its own, which QEMU reads byte by byte: half the processor time of a start (ADR 72).
    capability_filters: ['cpu-unavailable-features'],
    auto_dump_bypass_cache: false,
    max_core: 0,
    dump_guest_core: false,
  };
}

/** `virtlogd.conf`: the most bytes of output one guest can put on the host's disk is `maxSize * (backups + 1)`. */
export function virtlogdConfig(bounds: { maxSizeBytes?: number; backups?: number } = {}): Config {
  return {
    max_size: bounds.maxSizeBytes ?? 4 * 1024 * 1024,
    max_backups: bounds.backups ?? 1,
    log_level: 3,
    log_outputs: '3:stderr',
  };
}
