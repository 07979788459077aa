/** The parts of an OCI bundle's config.json that Berth writes (OCI runtime-spec 1.0, config.md, config-linux.md). */
export interface OciConfig {
  readonly ociVersion: string;
  readonly process: OciProcess;
  readonly root: { readonly path: string; readonly readonly: boolean };
  readonly hostname: string;
  readonly mounts: readonly OciMount[];
  readonly annotations: Readonly<Record<string, string>>;
  readonly linux: OciLinux;
}

export interface OciProcess {
  readonly terminal: boolean;
  readonly user: OciUser;
  readonly args: readonly string[];
  readonly env: readonly string[];
  readonly cwd: string;
  readonly capabilities: Readonly<Record<CapabilitySet, readonly string[]>>;
  readonly rlimits: readonly { readonly type: string; readonly hard: number; readonly soft: number }[];
  readonly noNewPrivileges: boolean;
  readonly oomScoreAdj: number;
}
export type CapabilitySet = 'bounding' | 'effective' | 'permitted' | 'inheritable' | 'ambient';

export interface OciUser {
  readonly uid: number;
  readonly gid: number;
  readonly additionalGids: readonly number[];
}

export interface OciMount {
  readonly destination: string;
  readonly type: string;
  readonly source: string;
  readonly options: readonly string[];
}

export interface OciIdMap {
  readonly containerID: number;
  readonly hostID: number;
  readonly size: number;
}

export interface OciLinux {
  readonly namespaces: readonly { readonly type: string; readonly path?: string }[];
  readonly uidMappings: readonly OciIdMap[];
  readonly gidMappings: readonly OciIdMap[];
  readonly cgroupsPath: string;
  readonly resources: OciResources;
  readonly sysctl: Readonly<Record<string, string>>;
  readonly seccomp: OciSeccomp;
  readonly maskedPaths: readonly string[];
  readonly readonlyPaths: readonly string[];
  readonly rootfsPropagation: string;
}

/** A line of the list of device rules; without a type it is about all devices. Later ones count before earlier. */
export interface OciDeviceRule {
  readonly allow: boolean;
  readonly type?: 'c' | 'b';
  readonly major?: number;
  readonly minor?: number;
  readonly access: string;
}

export interface OciResources {
  readonly devices: readonly OciDeviceRule[];
  /** Bytes. `swap` is memory and swap together; equal to `limit` it means no swap. */
  readonly memory: { readonly limit: number; readonly swap?: number };
  readonly cpu: {
    readonly shares: number;
    readonly quota?: number;
    readonly period?: number;
    readonly cpus?: string;
  };
  readonly pids: { readonly limit: number };
  readonly blockIO?: {
    /** 10 to 1000. */
    readonly weight?: number;
    readonly throttleReadBpsDevice?: readonly OciRate[];
    readonly throttleWriteBpsDevice?: readonly OciRate[];
    readonly throttleReadIOPSDevice?: readonly OciRate[];
    readonly throttleWriteIOPSDevice?: readonly OciRate[];
  };
  /** Files of cgroup v2, as they are written. */
  readonly unified?: Readonly<Record<string, string>>;
}

/** Most per second of one disk. */
export interface OciRate {
  readonly major: number;
  readonly minor: number;
  readonly rate: number;
}

export interface OciSeccompArg {
  readonly index: number;
  readonly value: number;
  readonly valueTwo?: number;
  readonly op: string;
}
export interface OciSyscallRule {
  readonly names: readonly string[];
  readonly action: string;
  readonly errnoRet?: number;
  readonly args?: readonly OciSeccompArg[];
}
export interface OciSeccomp {
  readonly defaultAction: string;
  readonly defaultErrnoRet?: number;
  readonly architectures: readonly string[];
  readonly syscalls: readonly OciSyscallRule[];
}
