// Written by tools/qmp-schema from what QEMU 7.2.22 says of itself. Do not edit: run tools/qmp-schema/write.mjs.

/** The QEMU whose schema this is. */
export const qmpSchemaVersion = '7.2.22';

/** Commands by name. Sizes are bytes and times nanoseconds unless QEMU's reference says otherwise. */
export interface QmpCommands {
  qmp_capabilities: { args: QmpCapabilitiesArguments | undefined; result: Record<string, never> };
  'query-status': { args: undefined; result: QueryStatusResult };
  'query-kvm': { args: undefined; result: QueryKvmResult };
  stop: { args: undefined; result: Record<string, never> };
  cont: { args: undefined; result: Record<string, never> };
  system_powerdown: { args: undefined; result: Record<string, never> };
  system_reset: { args: undefined; result: Record<string, never> };
  'query-name': { args: undefined; result: QueryNameResult };
  'query-uuid': { args: undefined; result: QueryUuidResult };
  'query-memory-size-summary': { args: undefined; result: QueryMemorySizeSummaryResult };
  'chardev-add': { args: ChardevAddArguments; result: ChardevAddResult };
  'chardev-change': { args: ChardevChangeArguments; result: ChardevAddResult };
  'query-chardev': { args: undefined; result: readonly QueryChardevResult[] };
  'query-block': { args: undefined; result: readonly QueryBlockResult[] };
  'query-blockstats': {
    args: QueryBlockstatsArguments | undefined;
    result: readonly QueryBlockstatsResult[];
  };
  'query-cpus-fast': { args: undefined; result: readonly QueryCpusFastResult[] };
  'query-hotpluggable-cpus': { args: undefined; result: readonly QueryHotpluggableCpusResult[] };
  'qom-get': { args: QomGetArguments; result: unknown };
  'qom-set': { args: QomSetArguments; result: Record<string, never> };
  'query-memory-devices': { args: undefined; result: readonly QueryMemoryDevicesResult[] };
  'migrate-set-parameters': {
    args: MigrateSetParametersArguments | undefined;
    result: Record<string, never>;
  };
  migrate: { args: MigrateArguments; result: Record<string, never> };
  migrate_cancel: { args: undefined; result: Record<string, never> };
  'query-migrate': { args: undefined; result: QueryMigrateResult };
  'send-key': { args: SendKeyArguments; result: Record<string, never> };
  'query-vnc': { args: undefined; result: QueryVncResult };
  'query-named-block-nodes': {
    args: QueryNamedBlockNodesArguments | undefined;
    result: readonly QueryNamedBlockNodesResult[];
  };
  'qom-list': { args: QomListArguments; result: readonly QomListResult[] };
  'blockdev-add': { args: BlockdevAddArguments; result: Record<string, never> };
  'blockdev-del': { args: BlockdevDelArguments; result: Record<string, never> };
  device_add: { args: DeviceAddArguments & Readonly<Record<string, unknown>>; result: Record<string, never> };
  device_del: { args: DeviceDelArguments; result: Record<string, never> };
  netdev_add: { args: NetdevAddArguments; result: Record<string, never> };
  netdev_del: { args: NetdevDelArguments; result: Record<string, never> };
  getfd: { args: GetfdArguments; result: Record<string, never> };
  block_resize: { args: BlockResizeArguments; result: Record<string, never> };
  transaction: { args: TransactionArguments; result: Record<string, never> };
  'blockdev-snapshot-delete-internal-sync': {
    args: BlockdevSnapshotDeleteInternalSyncArguments;
    result: BlockdevSnapshotDeleteInternalSyncResult;
  };
  'blockdev-open-tray': { args: BlockdevOpenTrayArguments | undefined; result: Record<string, never> };
  'blockdev-remove-medium': { args: BlockdevRemoveMediumArguments; result: Record<string, never> };
  'blockdev-close-tray': { args: BlockdevCloseTrayArguments | undefined; result: Record<string, never> };
  'blockdev-change-medium': { args: BlockdevChangeMediumArguments; result: Record<string, never> };
  block_set_io_throttle: { args: BlockSetIoThrottleArguments; result: Record<string, never> };
  'object-add': { args: ObjectAddArguments; result: Record<string, never> };
  'object-del': { args: ObjectDelArguments; result: Record<string, never> };
  'query-pci': { args: undefined; result: readonly QueryPciResult[] };
  closefd: { args: ClosefdArguments; result: Record<string, never> };
  'blockdev-backup': { args: BlockdevBackupArguments; result: Record<string, never> };
  'blockdev-mirror': { args: BlockdevMirrorArguments; result: Record<string, never> };
  'blockdev-snapshot': { args: BlockdevSnapshotArguments; result: Record<string, never> };
  'blockdev-snapshot-internal-sync': {
    args: BlockdevSnapshotInternalSyncArguments;
    result: Record<string, never>;
  };
  'block-commit': { args: BlockCommitArguments; result: Record<string, never> };
  'block-stream': { args: BlockStreamArguments; result: Record<string, never> };
  'block-dirty-bitmap-add': { args: BlockDirtyBitmapAddArguments; result: Record<string, never> };
  'block-dirty-bitmap-remove': { args: BlockDirtyBitmapRemoveArguments; result: Record<string, never> };
  'block-job-cancel': { args: BlockJobCancelArguments; result: Record<string, never> };
  'block-job-complete': { args: BlockJobCompleteArguments; result: Record<string, never> };
  'job-cancel': { args: JobCancelArguments; result: Record<string, never> };
  'job-complete': { args: JobCompleteArguments; result: Record<string, never> };
  'job-dismiss': { args: JobDismissArguments; result: Record<string, never> };
  'query-jobs': { args: undefined; result: readonly QueryJobsResult[] };
  'query-block-jobs': { args: undefined; result: readonly QueryBlockJobsResult[] };
  'snapshot-save': { args: SnapshotSaveArguments; result: Record<string, never> };
  'snapshot-load': { args: SnapshotLoadArguments; result: Record<string, never> };
  'snapshot-delete': { args: SnapshotDeleteArguments; result: Record<string, never> };
  'nbd-server-start': { args: NbdServerStartArguments; result: Record<string, never> };
  'nbd-server-stop': { args: undefined; result: Record<string, never> };
  'block-export-add': { args: BlockExportAddArguments; result: Record<string, never> };
  'block-export-del': { args: BlockExportDelArguments; result: Record<string, never> };
  balloon: { args: BalloonArguments; result: Record<string, never> };
  'query-balloon': { args: undefined; result: QueryBalloonResult };
  'chardev-remove': { args: ChardevRemoveArguments; result: Record<string, never> };
  screendump: { args: ScreendumpArguments; result: Record<string, never> };
  'query-mice': { args: undefined; result: readonly QueryMiceResult[] };
  'migrate-incoming': { args: MigrateIncomingArguments; result: Record<string, never> };
  'migrate-continue': { args: MigrateContinueArguments; result: Record<string, never> };
  'migrate-set-capabilities': { args: MigrateSetCapabilitiesArguments; result: Record<string, never> };
  system_wakeup: { args: undefined; result: Record<string, never> };
  quit: { args: undefined; result: Record<string, never> };
  'query-version': { args: undefined; result: QueryVersionResult };
}

/** Data of events by name. */
export interface QmpEvents {
  SHUTDOWN: ShutdownData;
  STOP: Record<string, never>;
  RESUME: Record<string, never>;
  RESET: ResetData;
  SUSPEND: Record<string, never>;
  SUSPEND_DISK: Record<string, never>;
  WAKEUP: Record<string, never>;
  POWERDOWN: Record<string, never>;
  WATCHDOG: WatchdogData;
  GUEST_PANICKED: GuestPanickedData;
  BLOCK_IO_ERROR: BlockIoErrorData;
  BLOCK_WRITE_THRESHOLD: BlockWriteThresholdData;
  BLOCK_IMAGE_CORRUPTED: BlockImageCorruptedData;
  BLOCK_JOB_READY: BlockJobReadyData;
  BLOCK_JOB_PENDING: BlockJobPendingData;
  BLOCK_JOB_COMPLETED: BlockJobCompletedData;
  BLOCK_JOB_CANCELLED: BlockJobCancelledData;
  BLOCK_JOB_ERROR: BlockJobErrorData;
  JOB_STATUS_CHANGE: JobStatusChangeData;
  DEVICE_DELETED: DeviceDeletedData;
  DEVICE_UNPLUG_GUEST_ERROR: DeviceUnplugGuestErrorData;
  BALLOON_CHANGE: BalloonChangeData;
  MEMORY_DEVICE_SIZE_CHANGE: MemoryDeviceSizeChangeData;
  VSERPORT_CHANGE: VserportChangeData;
  DEVICE_TRAY_MOVED: DeviceTrayMovedData;
  NIC_RX_FILTER_CHANGED: NicRxFilterChangedData;
  MIGRATION: MigrationData;
  MIGRATION_PASS: MigrationPassData;
}

/** Every event that has a type here. */
export const qmpEventNames = [
  'SHUTDOWN',
  'STOP',
  'RESUME',
  'RESET',
  'SUSPEND',
  'SUSPEND_DISK',
  'WAKEUP',
  'POWERDOWN',
  'WATCHDOG',
  'GUEST_PANICKED',
  'BLOCK_IO_ERROR',
  'BLOCK_WRITE_THRESHOLD',
  'BLOCK_IMAGE_CORRUPTED',
  'BLOCK_JOB_READY',
  'BLOCK_JOB_PENDING',
  'BLOCK_JOB_COMPLETED',
  'BLOCK_JOB_CANCELLED',
  'BLOCK_JOB_ERROR',
  'JOB_STATUS_CHANGE',
  'DEVICE_DELETED',
  'DEVICE_UNPLUG_GUEST_ERROR',
  'BALLOON_CHANGE',
  'MEMORY_DEVICE_SIZE_CHANGE',
  'VSERPORT_CHANGE',
  'DEVICE_TRAY_MOVED',
  'NIC_RX_FILTER_CHANGED',
  'MIGRATION',
  'MIGRATION_PASS',
] as const satisfies readonly (keyof QmpEvents)[];

export interface QmpCapabilitiesArguments {
  readonly enable?: readonly QmpCapabilitiesArgumentsEnable[];
}
export interface QueryStatusResult {
  readonly running: boolean;
  readonly singlestep: boolean;
  readonly status: QueryStatusResultStatus;
}
export interface QueryKvmResult {
  readonly enabled: boolean;
  readonly present: boolean;
}
export interface QueryNameResult {
  readonly name?: string;
}
export interface QueryUuidResult {
  readonly UUID: string;
}
export interface QueryMemorySizeSummaryResult {
  readonly 'base-memory': number;
  readonly 'plugged-memory'?: number;
}
export interface ChardevAddArguments {
  readonly id: string;
  readonly backend: ChardevAddArgumentsBackend;
}
export interface ChardevAddResult {
  readonly pty?: string;
}
export interface ChardevChangeArguments {
  readonly id: string;
  readonly backend: ChardevAddArgumentsBackend;
}
export interface QueryChardevResult {
  readonly label: string;
  readonly filename: string;
  readonly 'frontend-open': boolean;
}
export interface QueryBlockResult {
  readonly device: string;
  readonly qdev?: string;
  readonly type: string;
  readonly removable: boolean;
  readonly locked: boolean;
  readonly inserted?: QueryNamedBlockNodesResult;
  readonly tray_open?: boolean;
  readonly 'io-status'?: QueryBlockResultIoStatus;
}
export interface QueryBlockstatsArguments {
  readonly 'query-nodes'?: boolean;
}
export interface QueryBlockstatsResult {
  readonly device?: string;
  readonly qdev?: string;
  readonly 'node-name'?: string;
  readonly stats: QueryBlockstatsResultStats;
  readonly 'driver-specific'?: QueryBlockstatsResultDriverSpecific;
  readonly parent?: QueryBlockstatsResult;
  readonly backing?: QueryBlockstatsResult;
}
export type QueryCpusFastResult = {
  readonly 'cpu-index': number;
  readonly 'qom-path': string;
  readonly 'thread-id': number;
  readonly props?: QueryCpusFastResultProps;
} & (
  | ({ readonly target: 's390x' } & QueryCpusFastResultS390x)
  | {
      readonly target:
        | 'aarch64'
        | 'alpha'
        | 'arm'
        | 'avr'
        | 'cris'
        | 'hppa'
        | 'i386'
        | 'loongarch64'
        | 'm68k'
        | 'microblaze'
        | 'microblazeel'
        | 'mips'
        | 'mips64'
        | 'mips64el'
        | 'mipsel'
        | 'nios2'
        | 'or1k'
        | 'ppc'
        | 'ppc64'
        | 'riscv32'
        | 'riscv64'
        | 'rx'
        | 'sh4'
        | 'sh4eb'
        | 'sparc'
        | 'sparc64'
        | 'tricore'
        | 'x86_64'
        | 'xtensa'
        | 'xtensaeb';
    }
);
export interface QueryHotpluggableCpusResult {
  readonly type: string;
  readonly 'vcpus-count': number;
  readonly props: QueryCpusFastResultProps;
  readonly 'qom-path'?: string;
}
export interface QomGetArguments {
  readonly path: string;
  readonly property: string;
}
export interface QomSetArguments {
  readonly path: string;
  readonly property: string;
  readonly value: unknown;
}
export type QueryMemoryDevicesResult =
  | ({ readonly type: 'dimm' } & QueryMemoryDevicesResultDimm)
  | ({ readonly type: 'nvdimm' } & QueryMemoryDevicesResultDimm)
  | ({ readonly type: 'virtio-pmem' } & QueryMemoryDevicesResultVirtioPmem)
  | ({ readonly type: 'virtio-mem' } & QueryMemoryDevicesResultVirtioMem)
  | ({ readonly type: 'sgx-epc' } & QueryMemoryDevicesResultSgxEpc);
export interface MigrateSetParametersArguments {
  readonly 'announce-initial'?: number;
  readonly 'announce-max'?: number;
  readonly 'announce-rounds'?: number;
  readonly 'announce-step'?: number;
  readonly 'compress-level'?: number;
  readonly 'compress-threads'?: number;
  readonly 'compress-wait-thread'?: boolean;
  readonly 'decompress-threads'?: number;
  readonly 'throttle-trigger-threshold'?: number;
  readonly 'cpu-throttle-initial'?: number;
  readonly 'cpu-throttle-increment'?: number;
  readonly 'cpu-throttle-tailslow'?: boolean;
  readonly 'tls-creds'?: MigrateSetParametersArgumentsTlsCreds;
  readonly 'tls-hostname'?: MigrateSetParametersArgumentsTlsCreds;
  readonly 'tls-authz'?: MigrateSetParametersArgumentsTlsCreds;
  readonly 'max-bandwidth'?: number;
  readonly 'downtime-limit'?: number;
  readonly 'x-checkpoint-delay'?: number;
  readonly 'block-incremental'?: boolean;
  readonly 'multifd-channels'?: number;
  readonly 'xbzrle-cache-size'?: number;
  readonly 'max-postcopy-bandwidth'?: number;
  readonly 'max-cpu-throttle'?: number;
  readonly 'multifd-compression'?: MigrateSetParametersArgumentsMultifdCompression;
  readonly 'multifd-zlib-level'?: number;
  readonly 'multifd-zstd-level'?: number;
  readonly 'block-bitmap-mapping'?: readonly MigrateSetParametersArgumentsBlockBitmapMapping[];
}
export interface MigrateArguments {
  readonly uri: string;
  readonly blk?: boolean;
  readonly inc?: boolean;
  readonly detach?: boolean;
  readonly resume?: boolean;
}
export interface QueryMigrateResult {
  readonly status?: QueryMigrateResultStatus;
  readonly ram?: QueryMigrateResultRam;
  readonly disk?: QueryMigrateResultRam;
  readonly vfio?: QueryMigrateResultVfio;
  readonly 'xbzrle-cache'?: QueryMigrateResultXbzrleCache;
  readonly 'total-time'?: number;
  readonly 'expected-downtime'?: number;
  readonly downtime?: number;
  readonly 'setup-time'?: number;
  readonly 'cpu-throttle-percentage'?: number;
  readonly 'error-desc'?: string;
  readonly 'blocked-reasons'?: readonly string[];
  readonly 'postcopy-blocktime'?: number;
  readonly 'postcopy-vcpu-blocktime'?: readonly number[];
  readonly compression?: QueryMigrateResultCompression;
  readonly 'socket-address'?: readonly QueryMigrateResultSocketAddress[];
}
export interface SendKeyArguments {
  readonly keys: readonly SendKeyArgumentsKeys[];
  readonly 'hold-time'?: number;
}
export interface QueryVncResult {
  readonly enabled: boolean;
  readonly host?: string;
  readonly family?: QueryVncResultFamily;
  readonly service?: string;
  readonly auth?: string;
  readonly clients?: readonly QueryVncResultClients[];
}
export interface QueryNamedBlockNodesArguments {
  readonly flat?: boolean;
}
export interface QueryNamedBlockNodesResult {
  readonly file: string;
  readonly 'node-name'?: string;
  readonly ro: boolean;
  readonly drv: string;
  readonly backing_file?: string;
  readonly backing_file_depth: number;
  readonly encrypted: boolean;
  readonly detect_zeroes: QueryNamedBlockNodesResultDetectZeroes;
  readonly bps: number;
  readonly bps_rd: number;
  readonly bps_wr: number;
  readonly iops: number;
  readonly iops_rd: number;
  readonly iops_wr: number;
  readonly image: QueryNamedBlockNodesResultImage;
  readonly bps_max?: number;
  readonly bps_rd_max?: number;
  readonly bps_wr_max?: number;
  readonly iops_max?: number;
  readonly iops_rd_max?: number;
  readonly iops_wr_max?: number;
  readonly bps_max_length?: number;
  readonly bps_rd_max_length?: number;
  readonly bps_wr_max_length?: number;
  readonly iops_max_length?: number;
  readonly iops_rd_max_length?: number;
  readonly iops_wr_max_length?: number;
  readonly iops_size?: number;
  readonly group?: string;
  readonly cache: QueryNamedBlockNodesResultCache;
  readonly write_threshold: number;
  readonly 'dirty-bitmaps'?: readonly QueryNamedBlockNodesResultDirtyBitmaps[];
}
export interface QomListArguments {
  readonly path: string;
}
export interface QomListResult {
  readonly name: string;
  readonly type: string;
  readonly description?: string;
  readonly 'default-value'?: unknown;
}
export type BlockdevAddArguments = {
  readonly 'node-name'?: string;
  readonly discard?: BlockdevAddArgumentsDiscard;
  readonly cache?: BlockdevAddArgumentsCache;
  readonly 'read-only'?: boolean;
  readonly 'auto-read-only'?: boolean;
  readonly 'force-share'?: boolean;
  readonly 'detect-zeroes'?: QueryNamedBlockNodesResultDetectZeroes;
} & (
  | ({ readonly driver: 'blkdebug' } & BlockdevAddArgumentsBlkdebug)
  | ({ readonly driver: 'blklogwrites' } & BlockdevAddArgumentsBlklogwrites)
  | ({ readonly driver: 'blkverify' } & BlockdevAddArgumentsBlkverify)
  | ({ readonly driver: 'blkreplay' } & BlockdevAddArgumentsBlkreplay)
  | ({ readonly driver: 'bochs' } & BlockdevAddArgumentsBochs)
  | ({ readonly driver: 'cloop' } & BlockdevAddArgumentsBochs)
  | ({ readonly driver: 'compress' } & BlockdevAddArgumentsBochs)
  | ({ readonly driver: 'copy-before-write' } & BlockdevAddArgumentsCopyBeforeWrite)
  | ({ readonly driver: 'copy-on-read' } & BlockdevAddArgumentsCopyOnRead)
  | ({ readonly driver: 'dmg' } & BlockdevAddArgumentsBochs)
  | ({ readonly driver: 'file' } & BlockdevAddArgumentsFile)
  | ({ readonly driver: 'ftp' } & BlockdevAddArgumentsFtp)
  | ({ readonly driver: 'ftps' } & BlockdevAddArgumentsFtps)
  | ({ readonly driver: 'gluster' } & BlockdevAddArgumentsGluster)
  | ({ readonly driver: 'host_cdrom' } & BlockdevAddArgumentsFile)
  | ({ readonly driver: 'host_device' } & BlockdevAddArgumentsFile)
  | ({ readonly driver: 'http' } & BlockdevAddArgumentsHttp)
  | ({ readonly driver: 'https' } & BlockdevAddArgumentsHttps)
  | ({ readonly driver: 'iscsi' } & BlockdevAddArgumentsIscsi)
  | ({ readonly driver: 'luks' } & BlockdevAddArgumentsLuks)
  | ({ readonly driver: 'nbd' } & BlockdevAddArgumentsNbd)
  | ({ readonly driver: 'nfs' } & BlockdevAddArgumentsNfs)
  | ({ readonly driver: 'null-aio' } & BlockdevAddArgumentsNullAio)
  | ({ readonly driver: 'null-co' } & BlockdevAddArgumentsNullAio)
  | ({ readonly driver: 'nvme' } & BlockdevAddArgumentsNvme)
  | ({ readonly driver: 'parallels' } & BlockdevAddArgumentsBochs)
  | ({ readonly driver: 'preallocate' } & BlockdevAddArgumentsPreallocate)
  | ({ readonly driver: 'qcow2' } & BlockdevAddArgumentsQcow2)
  | ({ readonly driver: 'qcow' } & BlockdevAddArgumentsQcow)
  | ({ readonly driver: 'qed' } & BlockdevAddArgumentsQed)
  | ({ readonly driver: 'quorum' } & BlockdevAddArgumentsQuorum)
  | ({ readonly driver: 'raw' } & BlockdevAddArgumentsRaw)
  | ({ readonly driver: 'rbd' } & BlockdevAddArgumentsRbd)
  | ({ readonly driver: 'replication' } & BlockdevAddArgumentsReplication)
  | ({ readonly driver: 'snapshot-access' } & BlockdevAddArgumentsBochs)
  | ({ readonly driver: 'ssh' } & BlockdevAddArgumentsSsh)
  | ({ readonly driver: 'throttle' } & BlockdevAddArgumentsThrottle)
  | ({ readonly driver: 'vdi' } & BlockdevAddArgumentsBochs)
  | ({ readonly driver: 'vhdx' } & BlockdevAddArgumentsBochs)
  | ({ readonly driver: 'vmdk' } & BlockdevAddArgumentsQed)
  | ({ readonly driver: 'vpc' } & BlockdevAddArgumentsBochs)
  | ({ readonly driver: 'vvfat' } & BlockdevAddArgumentsVvfat)
);
export interface BlockdevDelArguments {
  readonly 'node-name': string;
}
export interface DeviceAddArguments {
  readonly driver: string;
  readonly bus?: string;
  readonly id?: string;
}
export interface DeviceDelArguments {
  readonly id: string;
}
export type NetdevAddArguments = { readonly id: string } & (
  | ({ readonly type: 'nic' } & NetdevAddArgumentsNic)
  | ({ readonly type: 'user' } & NetdevAddArgumentsUser)
  | ({ readonly type: 'tap' } & NetdevAddArgumentsTap)
  | ({ readonly type: 'l2tpv3' } & NetdevAddArgumentsL2tpv3)
  | ({ readonly type: 'socket' } & NetdevAddArgumentsSocket)
  | ({ readonly type: 'stream' } & NetdevAddArgumentsStream)
  | ({ readonly type: 'dgram' } & NetdevAddArgumentsDgram)
  | ({ readonly type: 'vde' } & NetdevAddArgumentsVde)
  | ({ readonly type: 'bridge' } & NetdevAddArgumentsBridge)
  | ({ readonly type: 'hubport' } & NetdevAddArgumentsHubport)
  | ({ readonly type: 'netmap' } & NetdevAddArgumentsNetmap)
  | ({ readonly type: 'vhost-user' } & NetdevAddArgumentsVhostUser)
  | ({ readonly type: 'vhost-vdpa' } & NetdevAddArgumentsVhostVdpa)
  | { readonly type: 'none' }
);
export interface NetdevDelArguments {
  readonly id: string;
}
export interface GetfdArguments {
  readonly fdname: string;
}
export interface BlockResizeArguments {
  readonly device?: string;
  readonly 'node-name'?: string;
  readonly size: number;
}
export interface TransactionArguments {
  readonly actions: readonly TransactionArgumentsActions[];
  readonly properties?: TransactionArgumentsProperties;
}
export interface BlockdevSnapshotDeleteInternalSyncArguments {
  readonly device: string;
  readonly id?: string;
  readonly name?: string;
}
export interface BlockdevSnapshotDeleteInternalSyncResult {
  readonly id: string;
  readonly name: string;
  readonly 'vm-state-size': number;
  readonly 'date-sec': number;
  readonly 'date-nsec': number;
  readonly 'vm-clock-sec': number;
  readonly 'vm-clock-nsec': number;
  readonly icount?: number;
}
export interface BlockdevOpenTrayArguments {
  readonly device?: string;
  readonly id?: string;
  readonly force?: boolean;
}
export interface BlockdevRemoveMediumArguments {
  readonly id: string;
}
export interface BlockdevCloseTrayArguments {
  readonly device?: string;
  readonly id?: string;
}
export interface BlockdevChangeMediumArguments {
  readonly device?: string;
  readonly id?: string;
  readonly filename: string;
  readonly format?: string;
  readonly force?: boolean;
  readonly 'read-only-mode'?: BlockdevChangeMediumArgumentsReadOnlyMode;
}
export interface BlockSetIoThrottleArguments {
  readonly device?: string;
  readonly id?: string;
  readonly bps: number;
  readonly bps_rd: number;
  readonly bps_wr: number;
  readonly iops: number;
  readonly iops_rd: number;
  readonly iops_wr: number;
  readonly bps_max?: number;
  readonly bps_rd_max?: number;
  readonly bps_wr_max?: number;
  readonly iops_max?: number;
  readonly iops_rd_max?: number;
  readonly iops_wr_max?: number;
  readonly bps_max_length?: number;
  readonly bps_rd_max_length?: number;
  readonly bps_wr_max_length?: number;
  readonly iops_max_length?: number;
  readonly iops_rd_max_length?: number;
  readonly iops_wr_max_length?: number;
  readonly iops_size?: number;
  readonly group?: string;
}
export type ObjectAddArguments = { readonly id: string } & (
  | ({ readonly 'qom-type': 'authz-list' } & ObjectAddArgumentsAuthzList)
  | ({ readonly 'qom-type': 'authz-listfile' } & ObjectAddArgumentsAuthzListfile)
  | ({ readonly 'qom-type': 'authz-pam' } & ObjectAddArgumentsAuthzPam)
  | ({ readonly 'qom-type': 'authz-simple' } & ObjectAddArgumentsAuthzSimple)
  | ({ readonly 'qom-type': 'can-host-socketcan' } & ObjectAddArgumentsCanHostSocketcan)
  | ({ readonly 'qom-type': 'colo-compare' } & ObjectAddArgumentsColoCompare)
  | ({ readonly 'qom-type': 'cryptodev-backend' } & ObjectAddArgumentsCryptodevBackend)
  | ({ readonly 'qom-type': 'cryptodev-backend-builtin' } & ObjectAddArgumentsCryptodevBackend)
  | ({ readonly 'qom-type': 'cryptodev-backend-lkcf' } & ObjectAddArgumentsCryptodevBackend)
  | ({ readonly 'qom-type': 'cryptodev-vhost-user' } & ObjectAddArgumentsCryptodevVhostUser)
  | ({ readonly 'qom-type': 'dbus-vmstate' } & ObjectAddArgumentsDbusVmstate)
  | ({ readonly 'qom-type': 'filter-buffer' } & ObjectAddArgumentsFilterBuffer)
  | ({ readonly 'qom-type': 'filter-dump' } & ObjectAddArgumentsFilterDump)
  | ({ readonly 'qom-type': 'filter-mirror' } & ObjectAddArgumentsFilterMirror)
  | ({ readonly 'qom-type': 'filter-redirector' } & ObjectAddArgumentsFilterRedirector)
  | ({ readonly 'qom-type': 'filter-replay' } & ObjectAddArgumentsFilterReplay)
  | ({ readonly 'qom-type': 'filter-rewriter' } & ObjectAddArgumentsFilterRewriter)
  | ({ readonly 'qom-type': 'input-barrier' } & ObjectAddArgumentsInputBarrier)
  | ({ readonly 'qom-type': 'input-linux' } & ObjectAddArgumentsInputLinux)
  | ({ readonly 'qom-type': 'iothread' } & ObjectAddArgumentsIothread)
  | ({ readonly 'qom-type': 'main-loop' } & ObjectAddArgumentsMainLoop)
  | ({ readonly 'qom-type': 'memory-backend-epc' } & ObjectAddArgumentsMemoryBackendEpc)
  | ({ readonly 'qom-type': 'memory-backend-file' } & ObjectAddArgumentsMemoryBackendFile)
  | ({ readonly 'qom-type': 'memory-backend-memfd' } & ObjectAddArgumentsMemoryBackendMemfd)
  | ({ readonly 'qom-type': 'memory-backend-ram' } & ObjectAddArgumentsMemoryBackendRam)
  | ({ readonly 'qom-type': 'pr-manager-helper' } & ObjectAddArgumentsPrManagerHelper)
  | ({ readonly 'qom-type': 'qtest' } & ObjectAddArgumentsQtest)
  | ({ readonly 'qom-type': 'rng-builtin' } & ObjectAddArgumentsRngBuiltin)
  | ({ readonly 'qom-type': 'rng-egd' } & ObjectAddArgumentsRngEgd)
  | ({ readonly 'qom-type': 'rng-random' } & ObjectAddArgumentsRngRandom)
  | ({ readonly 'qom-type': 'secret' } & ObjectAddArgumentsSecret)
  | ({ readonly 'qom-type': 'secret_keyring' } & ObjectAddArgumentsSecretKeyring)
  | ({ readonly 'qom-type': 'sev-guest' } & ObjectAddArgumentsSevGuest)
  | ({ readonly 'qom-type': 'thread-context' } & ObjectAddArgumentsThreadContext)
  | ({ readonly 'qom-type': 'throttle-group' } & ObjectAddArgumentsThrottleGroup)
  | ({ readonly 'qom-type': 'tls-creds-anon' } & ObjectAddArgumentsTlsCredsAnon)
  | ({ readonly 'qom-type': 'tls-creds-psk' } & ObjectAddArgumentsTlsCredsPsk)
  | ({ readonly 'qom-type': 'tls-creds-x509' } & ObjectAddArgumentsTlsCredsX509)
  | ({ readonly 'qom-type': 'tls-cipher-suites' } & ObjectAddArgumentsTlsCipherSuites)
  | ({ readonly 'qom-type': 'x-remote-object' } & ObjectAddArgumentsXRemoteObject)
  | ({ readonly 'qom-type': 'x-vfio-user-server' } & ObjectAddArgumentsXVfioUserServer)
  | { readonly 'qom-type': 'can-bus' | 'pef-guest' | 's390-pv-guest' }
);
export interface ObjectDelArguments {
  readonly id: string;
}
export interface QueryPciResult {
  readonly bus: number;
  readonly devices: readonly QueryPciResultDevices[];
}
export interface ClosefdArguments {
  readonly fdname: string;
}
export interface BlockdevBackupArguments {
  readonly 'job-id'?: string;
  readonly device: string;
  readonly sync: BlockdevBackupArgumentsSync;
  readonly speed?: number;
  readonly bitmap?: string;
  readonly 'bitmap-mode'?: BlockdevBackupArgumentsBitmapMode;
  readonly compress?: boolean;
  readonly 'on-source-error'?: BlockdevBackupArgumentsOnSourceError;
  readonly 'on-target-error'?: BlockdevBackupArgumentsOnSourceError;
  readonly 'auto-finalize'?: boolean;
  readonly 'auto-dismiss'?: boolean;
  readonly 'filter-node-name'?: string;
  readonly 'x-perf'?: BlockdevBackupArgumentsXPerf;
  readonly target: string;
}
export interface BlockdevMirrorArguments {
  readonly 'job-id'?: string;
  readonly device: string;
  readonly target: string;
  readonly replaces?: string;
  readonly sync: BlockdevBackupArgumentsSync;
  readonly speed?: number;
  readonly granularity?: number;
  readonly 'buf-size'?: number;
  readonly 'on-source-error'?: BlockdevBackupArgumentsOnSourceError;
  readonly 'on-target-error'?: BlockdevBackupArgumentsOnSourceError;
  readonly 'filter-node-name'?: string;
  readonly 'copy-mode'?: BlockdevMirrorArgumentsCopyMode;
  readonly 'auto-finalize'?: boolean;
  readonly 'auto-dismiss'?: boolean;
}
export interface BlockdevSnapshotArguments {
  readonly node: string;
  readonly overlay: string;
}
export interface BlockdevSnapshotInternalSyncArguments {
  readonly device: string;
  readonly name: string;
}
export interface BlockCommitArguments {
  readonly 'job-id'?: string;
  readonly device: string;
  readonly 'base-node'?: string;
  readonly base?: string;
  readonly 'top-node'?: string;
  readonly top?: string;
  readonly 'backing-file'?: string;
  readonly speed?: number;
  readonly 'on-error'?: BlockdevBackupArgumentsOnSourceError;
  readonly 'filter-node-name'?: string;
  readonly 'auto-finalize'?: boolean;
  readonly 'auto-dismiss'?: boolean;
}
export interface BlockStreamArguments {
  readonly 'job-id'?: string;
  readonly device: string;
  readonly base?: string;
  readonly 'base-node'?: string;
  readonly 'backing-file'?: string;
  readonly bottom?: string;
  readonly speed?: number;
  readonly 'on-error'?: BlockdevBackupArgumentsOnSourceError;
  readonly 'filter-node-name'?: string;
  readonly 'auto-finalize'?: boolean;
  readonly 'auto-dismiss'?: boolean;
}
export interface BlockDirtyBitmapAddArguments {
  readonly node: string;
  readonly name: string;
  readonly granularity?: number;
  readonly persistent?: boolean;
  readonly disabled?: boolean;
}
export interface BlockDirtyBitmapRemoveArguments {
  readonly node: string;
  readonly name: string;
}
export interface BlockJobCancelArguments {
  readonly device: string;
  readonly force?: boolean;
}
export interface BlockJobCompleteArguments {
  readonly device: string;
}
export interface JobCancelArguments {
  readonly id: string;
}
export interface JobCompleteArguments {
  readonly id: string;
}
export interface JobDismissArguments {
  readonly id: string;
}
export interface QueryJobsResult {
  readonly id: string;
  readonly type: QueryJobsResultType;
  readonly status: QueryJobsResultStatus;
  readonly 'current-progress': number;
  readonly 'total-progress': number;
  readonly error?: string;
}
export interface QueryBlockJobsResult {
  readonly type: string;
  readonly device: string;
  readonly len: number;
  readonly offset: number;
  readonly busy: boolean;
  readonly paused: boolean;
  readonly speed: number;
  readonly 'io-status': QueryBlockResultIoStatus;
  readonly ready: boolean;
  readonly status: QueryJobsResultStatus;
  readonly 'auto-finalize': boolean;
  readonly 'auto-dismiss': boolean;
  readonly error?: string;
}
export interface SnapshotSaveArguments {
  readonly 'job-id': string;
  readonly tag: string;
  readonly vmstate: string;
  readonly devices: readonly string[];
}
export interface SnapshotLoadArguments {
  readonly 'job-id': string;
  readonly tag: string;
  readonly vmstate: string;
  readonly devices: readonly string[];
}
export interface SnapshotDeleteArguments {
  readonly 'job-id': string;
  readonly tag: string;
  readonly devices: readonly string[];
}
export interface NbdServerStartArguments {
  readonly addr: NbdServerStartArgumentsAddr;
  readonly 'tls-creds'?: string;
  readonly 'tls-authz'?: string;
  readonly 'max-connections'?: number;
}
export type BlockExportAddArguments = {
  readonly id: string;
  readonly 'fixed-iothread'?: boolean;
  readonly iothread?: string;
  readonly 'node-name': string;
  readonly writable?: boolean;
  readonly writethrough?: boolean;
} & (
  | ({ readonly type: 'nbd' } & BlockExportAddArgumentsNbd)
  | ({ readonly type: 'vhost-user-blk' } & BlockExportAddArgumentsVhostUserBlk)
  | ({ readonly type: 'fuse' } & BlockExportAddArgumentsFuse)
  | ({ readonly type: 'vduse-blk' } & BlockExportAddArgumentsVduseBlk)
);
export interface BlockExportDelArguments {
  readonly id: string;
  readonly mode?: BlockExportDelArgumentsMode;
}
export interface BalloonArguments {
  readonly value: number;
}
export interface QueryBalloonResult {
  readonly actual: number;
}
export interface ChardevRemoveArguments {
  readonly id: string;
}
export interface ScreendumpArguments {
  readonly filename: string;
  readonly device?: string;
  readonly head?: number;
  readonly format?: ScreendumpArgumentsFormat;
}
export interface QueryMiceResult {
  readonly name: string;
  readonly index: number;
  readonly current: boolean;
  readonly absolute: boolean;
}
export interface MigrateIncomingArguments {
  readonly uri: string;
}
export interface MigrateContinueArguments {
  readonly state: QueryMigrateResultStatus;
}
export interface MigrateSetCapabilitiesArguments {
  readonly capabilities: readonly MigrateSetCapabilitiesArgumentsCapabilities[];
}
export interface QueryVersionResult {
  readonly qemu: QueryVersionResultQemu;
  readonly package: string;
}
export interface ShutdownData {
  readonly guest: boolean;
  readonly reason: ShutdownDataReason;
}
export interface ResetData {
  readonly guest: boolean;
  readonly reason: ShutdownDataReason;
}
export interface WatchdogData {
  readonly action: WatchdogDataAction;
}
export interface GuestPanickedData {
  readonly action: GuestPanickedDataAction;
  readonly info?: GuestPanickedDataInfo;
}
export interface BlockIoErrorData {
  readonly device: string;
  readonly 'node-name'?: string;
  readonly operation: BlockIoErrorDataOperation;
  readonly action: BlockIoErrorDataAction;
  readonly nospace?: boolean;
  readonly reason: string;
}
export interface BlockWriteThresholdData {
  readonly 'node-name': string;
  readonly 'amount-exceeded': number;
  readonly 'write-threshold': number;
}
export interface BlockImageCorruptedData {
  readonly device: string;
  readonly 'node-name'?: string;
  readonly msg: string;
  readonly offset?: number;
  readonly size?: number;
  readonly fatal: boolean;
}
export interface BlockJobReadyData {
  readonly type: QueryJobsResultType;
  readonly device: string;
  readonly len: number;
  readonly offset: number;
  readonly speed: number;
}
export interface BlockJobPendingData {
  readonly type: QueryJobsResultType;
  readonly id: string;
}
export interface BlockJobCompletedData {
  readonly type: QueryJobsResultType;
  readonly device: string;
  readonly len: number;
  readonly offset: number;
  readonly speed: number;
  readonly error?: string;
}
export interface BlockJobCancelledData {
  readonly type: QueryJobsResultType;
  readonly device: string;
  readonly len: number;
  readonly offset: number;
  readonly speed: number;
}
export interface BlockJobErrorData {
  readonly device: string;
  readonly operation: BlockIoErrorDataOperation;
  readonly action: BlockIoErrorDataAction;
}
export interface JobStatusChangeData {
  readonly id: string;
  readonly status: QueryJobsResultStatus;
}
export interface DeviceDeletedData {
  readonly device?: string;
  readonly path: string;
}
export interface DeviceUnplugGuestErrorData {
  readonly device?: string;
  readonly path: string;
}
export interface BalloonChangeData {
  readonly actual: number;
}
export interface MemoryDeviceSizeChangeData {
  readonly id?: string;
  readonly size: number;
  readonly 'qom-path': string;
}
export interface VserportChangeData {
  readonly id: string;
  readonly open: boolean;
}
export interface DeviceTrayMovedData {
  readonly device: string;
  readonly id: string;
  readonly 'tray-open': boolean;
}
export interface NicRxFilterChangedData {
  readonly name?: string;
  readonly path: string;
}
export interface MigrationData {
  readonly status: QueryMigrateResultStatus;
}
export interface MigrationPassData {
  readonly pass: number;
}
export type QmpCapabilitiesArgumentsEnable = 'oob';
export type QueryStatusResultStatus =
  | 'debug'
  | 'inmigrate'
  | 'internal-error'
  | 'io-error'
  | 'paused'
  | 'postmigrate'
  | 'prelaunch'
  | 'finish-migrate'
  | 'restore-vm'
  | 'running'
  | 'save-vm'
  | 'shutdown'
  | 'suspended'
  | 'watchdog'
  | 'guest-panicked'
  | 'colo';
export type ChardevAddArgumentsBackend =
  | ({ readonly type: 'file' } & ChardevAddArgumentsBackendFile)
  | ({ readonly type: 'serial' } & ChardevAddArgumentsBackendSerial)
  | ({ readonly type: 'parallel' } & ChardevAddArgumentsBackendSerial)
  | ({ readonly type: 'pipe' } & ChardevAddArgumentsBackendSerial)
  | ({ readonly type: 'socket' } & ChardevAddArgumentsBackendSocket)
  | ({ readonly type: 'udp' } & ChardevAddArgumentsBackendUdp)
  | ({ readonly type: 'pty' } & ChardevAddArgumentsBackendPty)
  | ({ readonly type: 'null' } & ChardevAddArgumentsBackendPty)
  | ({ readonly type: 'mux' } & ChardevAddArgumentsBackendMux)
  | ({ readonly type: 'msmouse' } & ChardevAddArgumentsBackendPty)
  | ({ readonly type: 'wctablet' } & ChardevAddArgumentsBackendPty)
  | ({ readonly type: 'braille' } & ChardevAddArgumentsBackendPty)
  | ({ readonly type: 'testdev' } & ChardevAddArgumentsBackendPty)
  | ({ readonly type: 'stdio' } & ChardevAddArgumentsBackendStdio)
  | ({ readonly type: 'console' } & ChardevAddArgumentsBackendPty)
  | ({ readonly type: 'spicevmc' } & ChardevAddArgumentsBackendSpicevmc)
  | ({ readonly type: 'spiceport' } & ChardevAddArgumentsBackendSpiceport)
  | ({ readonly type: 'qemu-vdagent' } & ChardevAddArgumentsBackendQemuVdagent)
  | ({ readonly type: 'dbus' } & ChardevAddArgumentsBackendDbus)
  | ({ readonly type: 'vc' } & ChardevAddArgumentsBackendVc)
  | ({ readonly type: 'ringbuf' } & ChardevAddArgumentsBackendRingbuf)
  | ({ readonly type: 'memory' } & ChardevAddArgumentsBackendRingbuf);
export type QueryBlockResultIoStatus = 'ok' | 'failed' | 'nospace';
export interface QueryBlockstatsResultStats {
  readonly rd_bytes: number;
  readonly wr_bytes: number;
  readonly unmap_bytes: number;
  readonly rd_operations: number;
  readonly wr_operations: number;
  readonly flush_operations: number;
  readonly unmap_operations: number;
  readonly rd_total_time_ns: number;
  readonly wr_total_time_ns: number;
  readonly flush_total_time_ns: number;
  readonly unmap_total_time_ns: number;
  readonly wr_highest_offset: number;
  readonly rd_merged: number;
  readonly wr_merged: number;
  readonly unmap_merged: number;
  readonly idle_time_ns?: number;
  readonly failed_rd_operations: number;
  readonly failed_wr_operations: number;
  readonly failed_flush_operations: number;
  readonly failed_unmap_operations: number;
  readonly invalid_rd_operations: number;
  readonly invalid_wr_operations: number;
  readonly invalid_flush_operations: number;
  readonly invalid_unmap_operations: number;
  readonly account_invalid: boolean;
  readonly account_failed: boolean;
  readonly timed_stats: readonly QueryBlockstatsResultStatsTimedStats[];
  readonly rd_latency_histogram?: QueryBlockstatsResultStatsRdLatencyHistogram;
  readonly wr_latency_histogram?: QueryBlockstatsResultStatsRdLatencyHistogram;
  readonly flush_latency_histogram?: QueryBlockstatsResultStatsRdLatencyHistogram;
}
export type QueryBlockstatsResultDriverSpecific =
  | ({ readonly driver: 'file' } & QueryBlockstatsResultDriverSpecificFile)
  | ({ readonly driver: 'host_device' } & QueryBlockstatsResultDriverSpecificFile)
  | ({ readonly driver: 'nvme' } & QueryBlockstatsResultDriverSpecificNvme)
  | {
      readonly driver:
        | 'blkdebug'
        | 'blklogwrites'
        | 'blkreplay'
        | 'blkverify'
        | 'bochs'
        | 'cloop'
        | 'compress'
        | 'copy-before-write'
        | 'copy-on-read'
        | 'dmg'
        | 'snapshot-access'
        | 'ftp'
        | 'ftps'
        | 'gluster'
        | 'host_cdrom'
        | 'http'
        | 'https'
        | 'iscsi'
        | 'luks'
        | 'nbd'
        | 'nfs'
        | 'null-aio'
        | 'null-co'
        | 'parallels'
        | 'preallocate'
        | 'qcow'
        | 'qcow2'
        | 'qed'
        | 'quorum'
        | 'raw'
        | 'rbd'
        | 'replication'
        | 'ssh'
        | 'throttle'
        | 'vdi'
        | 'vhdx'
        | 'vmdk'
        | 'vpc'
        | 'vvfat';
    };
export interface QueryCpusFastResultS390x {
  readonly 'cpu-state': QueryCpusFastResultS390xCpuState;
}
export interface QueryCpusFastResultProps {
  readonly 'node-id'?: number;
  readonly 'socket-id'?: number;
  readonly 'die-id'?: number;
  readonly 'cluster-id'?: number;
  readonly 'core-id'?: number;
  readonly 'thread-id'?: number;
}
export interface QueryMemoryDevicesResultDimm {
  readonly data: QueryMemoryDevicesResultDimmData;
}
export interface QueryMemoryDevicesResultVirtioPmem {
  readonly data: QueryMemoryDevicesResultVirtioPmemData;
}
export interface QueryMemoryDevicesResultVirtioMem {
  readonly data: QueryMemoryDevicesResultVirtioMemData;
}
export interface QueryMemoryDevicesResultSgxEpc {
  readonly data: QueryMemoryDevicesResultSgxEpcData;
}
export type MigrateSetParametersArgumentsTlsCreds = string | null;
export type MigrateSetParametersArgumentsMultifdCompression = 'none' | 'zlib' | 'zstd';
export interface MigrateSetParametersArgumentsBlockBitmapMapping {
  readonly 'node-name': string;
  readonly alias: string;
  readonly bitmaps: readonly MigrateSetParametersArgumentsBlockBitmapMappingBitmaps[];
}
export type QueryMigrateResultStatus =
  | 'none'
  | 'setup'
  | 'cancelling'
  | 'cancelled'
  | 'active'
  | 'postcopy-active'
  | 'postcopy-paused'
  | 'postcopy-recover'
  | 'completed'
  | 'failed'
  | 'colo'
  | 'pre-switchover'
  | 'device'
  | 'wait-unplug';
export interface QueryMigrateResultRam {
  readonly transferred: number;
  readonly remaining: number;
  readonly total: number;
  readonly duplicate: number;
  readonly skipped: number;
  readonly normal: number;
  readonly 'normal-bytes': number;
  readonly 'dirty-pages-rate': number;
  readonly mbps: number;
  readonly 'dirty-sync-count': number;
  readonly 'postcopy-requests': number;
  readonly 'page-size': number;
  readonly 'multifd-bytes': number;
  readonly 'pages-per-second': number;
  readonly 'precopy-bytes': number;
  readonly 'downtime-bytes': number;
  readonly 'postcopy-bytes': number;
  readonly 'dirty-sync-missed-zero-copy': number;
}
export interface QueryMigrateResultVfio {
  readonly transferred: number;
}
export interface QueryMigrateResultXbzrleCache {
  readonly 'cache-size': number;
  readonly bytes: number;
  readonly pages: number;
  readonly 'cache-miss': number;
  readonly 'cache-miss-rate': number;
  readonly 'encoding-rate': number;
  readonly overflow: number;
}
export interface QueryMigrateResultCompression {
  readonly pages: number;
  readonly busy: number;
  readonly 'busy-rate': number;
  readonly 'compressed-size': number;
  readonly 'compression-rate': number;
}
export type QueryMigrateResultSocketAddress =
  | ({ readonly type: 'inet' } & QueryMigrateResultSocketAddressInet)
  | ({ readonly type: 'unix' } & QueryMigrateResultSocketAddressUnix)
  | ({ readonly type: 'vsock' } & QueryMigrateResultSocketAddressVsock)
  | ({ readonly type: 'fd' } & QueryMigrateResultSocketAddressFd);
export type SendKeyArgumentsKeys =
  | ({ readonly type: 'number' } & SendKeyArgumentsKeysNumber)
  | ({ readonly type: 'qcode' } & SendKeyArgumentsKeysQcode);
export type QueryVncResultFamily = 'ipv4' | 'ipv6' | 'unix' | 'vsock' | 'unknown';
export interface QueryVncResultClients {
  readonly host: string;
  readonly service: string;
  readonly family: QueryVncResultFamily;
  readonly websocket: boolean;
  readonly x509_dname?: string;
  readonly sasl_username?: string;
}
export type QueryNamedBlockNodesResultDetectZeroes = 'off' | 'on' | 'unmap';
export interface QueryNamedBlockNodesResultImage {
  readonly filename: string;
  readonly format: string;
  readonly 'dirty-flag'?: boolean;
  readonly 'actual-size'?: number;
  readonly 'virtual-size': number;
  readonly 'cluster-size'?: number;
  readonly encrypted?: boolean;
  readonly compressed?: boolean;
  readonly 'backing-filename'?: string;
  readonly 'full-backing-filename'?: string;
  readonly 'backing-filename-format'?: string;
  readonly snapshots?: readonly BlockdevSnapshotDeleteInternalSyncResult[];
  readonly 'backing-image'?: QueryNamedBlockNodesResultImage;
  readonly 'format-specific'?: QueryNamedBlockNodesResultImageFormatSpecific;
}
export interface QueryNamedBlockNodesResultCache {
  readonly writeback: boolean;
  readonly direct: boolean;
  readonly 'no-flush': boolean;
}
export interface QueryNamedBlockNodesResultDirtyBitmaps {
  readonly name?: string;
  readonly count: number;
  readonly granularity: number;
  readonly recording: boolean;
  readonly busy: boolean;
  readonly persistent: boolean;
  readonly inconsistent?: boolean;
}
export interface BlockdevAddArgumentsBlkdebug {
  readonly image: BlockdevAddArgumentsBlkdebugImage;
  readonly config?: string;
  readonly align?: number;
  readonly 'max-transfer'?: number;
  readonly 'opt-write-zero'?: number;
  readonly 'max-write-zero'?: number;
  readonly 'opt-discard'?: number;
  readonly 'max-discard'?: number;
  readonly 'inject-error'?: readonly BlockdevAddArgumentsBlkdebugInjectError[];
  readonly 'set-state'?: readonly BlockdevAddArgumentsBlkdebugSetState[];
  readonly 'take-child-perms'?: readonly BlockdevAddArgumentsBlkdebugTakeChildPerms[];
  readonly 'unshare-child-perms'?: readonly BlockdevAddArgumentsBlkdebugTakeChildPerms[];
}
export interface BlockdevAddArgumentsBlklogwrites {
  readonly file: BlockdevAddArgumentsBlkdebugImage;
  readonly log: BlockdevAddArgumentsBlkdebugImage;
  readonly 'log-sector-size'?: number;
  readonly 'log-append'?: boolean;
  readonly 'log-super-update-interval'?: number;
}
export interface BlockdevAddArgumentsBlkverify {
  readonly test: BlockdevAddArgumentsBlkdebugImage;
  readonly raw: BlockdevAddArgumentsBlkdebugImage;
}
export interface BlockdevAddArgumentsBlkreplay {
  readonly image: BlockdevAddArgumentsBlkdebugImage;
}
export interface BlockdevAddArgumentsBochs {
  readonly file: BlockdevAddArgumentsBlkdebugImage;
}
export interface BlockdevAddArgumentsCopyBeforeWrite {
  readonly file: BlockdevAddArgumentsBlkdebugImage;
  readonly target: BlockdevAddArgumentsBlkdebugImage;
  readonly bitmap?: BlockDirtyBitmapRemoveArguments;
  readonly 'on-cbw-error'?: BlockdevAddArgumentsCopyBeforeWriteOnCbwError;
  readonly 'cbw-timeout'?: number;
}
export interface BlockdevAddArgumentsCopyOnRead {
  readonly file: BlockdevAddArgumentsBlkdebugImage;
  readonly bottom?: string;
}
export interface BlockdevAddArgumentsFile {
  readonly filename: string;
  readonly 'pr-manager'?: string;
  readonly locking?: BlockdevAddArgumentsFileLocking;
  readonly aio?: BlockdevAddArgumentsFileAio;
  readonly 'aio-max-batch'?: number;
  readonly 'drop-cache'?: boolean;
  readonly 'x-check-cache-dropped'?: boolean;
}
export interface BlockdevAddArgumentsFtp {
  readonly url: string;
  readonly readahead?: number;
  readonly timeout?: number;
  readonly username?: string;
  readonly 'password-secret'?: string;
  readonly 'proxy-username'?: string;
  readonly 'proxy-password-secret'?: string;
}
export interface BlockdevAddArgumentsFtps {
  readonly url: string;
  readonly readahead?: number;
  readonly timeout?: number;
  readonly username?: string;
  readonly 'password-secret'?: string;
  readonly 'proxy-username'?: string;
  readonly 'proxy-password-secret'?: string;
  readonly sslverify?: boolean;
}
export interface BlockdevAddArgumentsGluster {
  readonly volume: string;
  readonly path: string;
  readonly server: readonly QueryMigrateResultSocketAddress[];
  readonly debug?: number;
  readonly logfile?: string;
}
export interface BlockdevAddArgumentsHttp {
  readonly url: string;
  readonly readahead?: number;
  readonly timeout?: number;
  readonly username?: string;
  readonly 'password-secret'?: string;
  readonly 'proxy-username'?: string;
  readonly 'proxy-password-secret'?: string;
  readonly cookie?: string;
  readonly 'cookie-secret'?: string;
}
export interface BlockdevAddArgumentsHttps {
  readonly url: string;
  readonly readahead?: number;
  readonly timeout?: number;
  readonly username?: string;
  readonly 'password-secret'?: string;
  readonly 'proxy-username'?: string;
  readonly 'proxy-password-secret'?: string;
  readonly cookie?: string;
  readonly sslverify?: boolean;
  readonly 'cookie-secret'?: string;
}
export interface BlockdevAddArgumentsIscsi {
  readonly transport: BlockdevAddArgumentsIscsiTransport;
  readonly portal: string;
  readonly target: string;
  readonly lun?: number;
  readonly user?: string;
  readonly 'password-secret'?: string;
  readonly 'initiator-name'?: string;
  readonly 'header-digest'?: BlockdevAddArgumentsIscsiHeaderDigest;
  readonly timeout?: number;
}
export interface BlockdevAddArgumentsLuks {
  readonly file: BlockdevAddArgumentsBlkdebugImage;
  readonly 'key-secret'?: string;
}
export interface BlockdevAddArgumentsNbd {
  readonly server: QueryMigrateResultSocketAddress;
  readonly export?: string;
  readonly 'tls-creds'?: string;
  readonly 'tls-hostname'?: string;
  readonly 'x-dirty-bitmap'?: string;
  readonly 'reconnect-delay'?: number;
  readonly 'open-timeout'?: number;
}
export interface BlockdevAddArgumentsNfs {
  readonly server: BlockdevAddArgumentsNfsServer;
  readonly path: string;
  readonly user?: number;
  readonly group?: number;
  readonly 'tcp-syn-count'?: number;
  readonly 'readahead-size'?: number;
  readonly 'page-cache-size'?: number;
  readonly debug?: number;
}
export interface BlockdevAddArgumentsNullAio {
  readonly size?: number;
  readonly 'latency-ns'?: number;
  readonly 'read-zeroes'?: boolean;
}
export interface BlockdevAddArgumentsNvme {
  readonly device: string;
  readonly namespace: number;
}
export interface BlockdevAddArgumentsPreallocate {
  readonly file: BlockdevAddArgumentsBlkdebugImage;
  readonly 'prealloc-align'?: number;
  readonly 'prealloc-size'?: number;
}
export interface BlockdevAddArgumentsQcow2 {
  readonly file: BlockdevAddArgumentsBlkdebugImage;
  readonly backing?: BlockdevAddArgumentsQcow2Backing;
  readonly 'lazy-refcounts'?: boolean;
  readonly 'pass-discard-request'?: boolean;
  readonly 'pass-discard-snapshot'?: boolean;
  readonly 'pass-discard-other'?: boolean;
  readonly 'overlap-check'?: BlockdevAddArgumentsQcow2OverlapCheck;
  readonly 'cache-size'?: number;
  readonly 'l2-cache-size'?: number;
  readonly 'l2-cache-entry-size'?: number;
  readonly 'refcount-cache-size'?: number;
  readonly 'cache-clean-interval'?: number;
  readonly encrypt?: BlockdevAddArgumentsQcow2Encrypt;
  readonly 'data-file'?: BlockdevAddArgumentsBlkdebugImage;
}
export interface BlockdevAddArgumentsQcow {
  readonly file: BlockdevAddArgumentsBlkdebugImage;
  readonly backing?: BlockdevAddArgumentsQcow2Backing;
  readonly encrypt?: BlockdevAddArgumentsQcowEncrypt;
}
export interface BlockdevAddArgumentsQed {
  readonly file: BlockdevAddArgumentsBlkdebugImage;
  readonly backing?: BlockdevAddArgumentsQcow2Backing;
}
export interface BlockdevAddArgumentsQuorum {
  readonly blkverify?: boolean;
  readonly children: readonly BlockdevAddArgumentsBlkdebugImage[];
  readonly 'vote-threshold': number;
  readonly 'rewrite-corrupted'?: boolean;
  readonly 'read-pattern'?: BlockdevAddArgumentsQuorumReadPattern;
}
export interface BlockdevAddArgumentsRaw {
  readonly file: BlockdevAddArgumentsBlkdebugImage;
  readonly offset?: number;
  readonly size?: number;
}
export interface BlockdevAddArgumentsRbd {
  readonly pool: string;
  readonly namespace?: string;
  readonly image: string;
  readonly conf?: string;
  readonly snapshot?: string;
  readonly encrypt?: BlockdevAddArgumentsRbdEncrypt;
  readonly user?: string;
  readonly 'auth-client-required'?: readonly BlockdevAddArgumentsRbdAuthClientRequired[];
  readonly 'key-secret'?: string;
  readonly server?: readonly BlockdevAddArgumentsRbdServer[];
}
export interface BlockdevAddArgumentsReplication {
  readonly file: BlockdevAddArgumentsBlkdebugImage;
  readonly mode: BlockdevAddArgumentsReplicationMode;
  readonly 'top-id'?: string;
}
export interface BlockdevAddArgumentsSsh {
  readonly server: QueryMigrateResultSocketAddressInet;
  readonly path: string;
  readonly user?: string;
  readonly 'host-key-check'?: BlockdevAddArgumentsSshHostKeyCheck;
}
export interface BlockdevAddArgumentsThrottle {
  readonly 'throttle-group': string;
  readonly file: BlockdevAddArgumentsBlkdebugImage;
}
export interface BlockdevAddArgumentsVvfat {
  readonly dir: string;
  readonly 'fat-type'?: number;
  readonly floppy?: boolean;
  readonly label?: string;
  readonly rw?: boolean;
}
export type BlockdevAddArgumentsDiscard = 'ignore' | 'unmap';
export interface BlockdevAddArgumentsCache {
  readonly direct?: boolean;
  readonly 'no-flush'?: boolean;
}
export interface NetdevAddArgumentsNic {
  readonly netdev?: string;
  readonly macaddr?: string;
  readonly model?: string;
  readonly addr?: string;
  readonly vectors?: number;
}
export interface NetdevAddArgumentsUser {
  readonly hostname?: string;
  readonly restrict?: boolean;
  readonly ipv4?: boolean;
  readonly ipv6?: boolean;
  readonly ip?: string;
  readonly net?: string;
  readonly host?: string;
  readonly tftp?: string;
  readonly bootfile?: string;
  readonly dhcpstart?: string;
  readonly dns?: string;
  readonly dnssearch?: readonly QueryMigrateResultSocketAddressFd[];
  readonly domainname?: string;
  readonly 'ipv6-prefix'?: string;
  readonly 'ipv6-prefixlen'?: number;
  readonly 'ipv6-host'?: string;
  readonly 'ipv6-dns'?: string;
  readonly smb?: string;
  readonly smbserver?: string;
  readonly hostfwd?: readonly QueryMigrateResultSocketAddressFd[];
  readonly guestfwd?: readonly QueryMigrateResultSocketAddressFd[];
  readonly 'tftp-server-name'?: string;
}
export interface NetdevAddArgumentsTap {
  readonly ifname?: string;
  readonly fd?: string;
  readonly fds?: string;
  readonly script?: string;
  readonly downscript?: string;
  readonly br?: string;
  readonly helper?: string;
  readonly sndbuf?: number;
  readonly vnet_hdr?: boolean;
  readonly vhost?: boolean;
  readonly vhostfd?: string;
  readonly vhostfds?: string;
  readonly vhostforce?: boolean;
  readonly queues?: number;
  readonly 'poll-us'?: number;
}
export interface NetdevAddArgumentsL2tpv3 {
  readonly src: string;
  readonly dst: string;
  readonly srcport?: string;
  readonly dstport?: string;
  readonly ipv6?: boolean;
  readonly udp?: boolean;
  readonly cookie64?: boolean;
  readonly counter?: boolean;
  readonly pincounter?: boolean;
  readonly txcookie?: number;
  readonly rxcookie?: number;
  readonly txsession: number;
  readonly rxsession?: number;
  readonly offset?: number;
}
export interface NetdevAddArgumentsSocket {
  readonly fd?: string;
  readonly listen?: string;
  readonly connect?: string;
  readonly mcast?: string;
  readonly localaddr?: string;
  readonly udp?: string;
}
export interface NetdevAddArgumentsStream {
  readonly addr: QueryMigrateResultSocketAddress;
  readonly server?: boolean;
}
export interface NetdevAddArgumentsDgram {
  readonly local?: QueryMigrateResultSocketAddress;
  readonly remote?: QueryMigrateResultSocketAddress;
}
export interface NetdevAddArgumentsVde {
  readonly sock?: string;
  readonly port?: number;
  readonly group?: string;
  readonly mode?: number;
}
export interface NetdevAddArgumentsBridge {
  readonly br?: string;
  readonly helper?: string;
}
export interface NetdevAddArgumentsHubport {
  readonly hubid: number;
  readonly netdev?: string;
}
export interface NetdevAddArgumentsNetmap {
  readonly ifname: string;
  readonly devname?: string;
}
export interface NetdevAddArgumentsVhostUser {
  readonly chardev: string;
  readonly vhostforce?: boolean;
  readonly queues?: number;
}
export interface NetdevAddArgumentsVhostVdpa {
  readonly vhostdev?: string;
  readonly vhostfd?: string;
  readonly queues?: number;
  readonly 'x-svq'?: boolean;
}
export type TransactionArgumentsActions =
  | ({ readonly type: 'abort' } & TransactionArgumentsActionsAbort)
  | ({ readonly type: 'block-dirty-bitmap-add' } & TransactionArgumentsActionsBlockDirtyBitmapAdd)
  | ({ readonly type: 'block-dirty-bitmap-remove' } & TransactionArgumentsActionsBlockDirtyBitmapRemove)
  | ({ readonly type: 'block-dirty-bitmap-clear' } & TransactionArgumentsActionsBlockDirtyBitmapRemove)
  | ({ readonly type: 'block-dirty-bitmap-enable' } & TransactionArgumentsActionsBlockDirtyBitmapRemove)
  | ({ readonly type: 'block-dirty-bitmap-disable' } & TransactionArgumentsActionsBlockDirtyBitmapRemove)
  | ({ readonly type: 'block-dirty-bitmap-merge' } & TransactionArgumentsActionsBlockDirtyBitmapMerge)
  | ({ readonly type: 'blockdev-backup' } & TransactionArgumentsActionsBlockdevBackup)
  | ({ readonly type: 'blockdev-snapshot' } & TransactionArgumentsActionsBlockdevSnapshot)
  | ({
      readonly type: 'blockdev-snapshot-internal-sync';
    } & TransactionArgumentsActionsBlockdevSnapshotInternalSync)
  | ({ readonly type: 'blockdev-snapshot-sync' } & TransactionArgumentsActionsBlockdevSnapshotSync)
  | ({ readonly type: 'drive-backup' } & TransactionArgumentsActionsDriveBackup);
export interface TransactionArgumentsProperties {
  readonly 'completion-mode'?: TransactionArgumentsPropertiesCompletionMode;
}
export type BlockdevChangeMediumArgumentsReadOnlyMode = 'retain' | 'read-only' | 'read-write';
export interface ObjectAddArgumentsAuthzList {
  readonly policy?: ObjectAddArgumentsAuthzListPolicy;
  readonly rules?: readonly ObjectAddArgumentsAuthzListRules[];
}
export interface ObjectAddArgumentsAuthzListfile {
  readonly filename: string;
  readonly refresh?: boolean;
}
export interface ObjectAddArgumentsAuthzPam {
  readonly service: string;
}
export interface ObjectAddArgumentsAuthzSimple {
  readonly identity: string;
}
export interface ObjectAddArgumentsCanHostSocketcan {
  readonly if: string;
  readonly canbus: string;
}
export interface ObjectAddArgumentsColoCompare {
  readonly primary_in: string;
  readonly secondary_in: string;
  readonly outdev: string;
  readonly iothread: string;
  readonly notify_dev?: string;
  readonly compare_timeout?: number;
  readonly expired_scan_cycle?: number;
  readonly max_queue_size?: number;
  readonly vnet_hdr_support?: boolean;
}
export interface ObjectAddArgumentsCryptodevBackend {
  readonly queues?: number;
}
export interface ObjectAddArgumentsCryptodevVhostUser {
  readonly queues?: number;
  readonly chardev: string;
}
export interface ObjectAddArgumentsDbusVmstate {
  readonly addr: string;
  readonly 'id-list'?: string;
}
export interface ObjectAddArgumentsFilterBuffer {
  readonly netdev: string;
  readonly queue?: ObjectAddArgumentsFilterBufferQueue;
  readonly status?: string;
  readonly position?: string;
  readonly insert?: ObjectAddArgumentsFilterBufferInsert;
  readonly interval: number;
}
export interface ObjectAddArgumentsFilterDump {
  readonly netdev: string;
  readonly queue?: ObjectAddArgumentsFilterBufferQueue;
  readonly status?: string;
  readonly position?: string;
  readonly insert?: ObjectAddArgumentsFilterBufferInsert;
  readonly file: string;
  readonly maxlen?: number;
}
export interface ObjectAddArgumentsFilterMirror {
  readonly netdev: string;
  readonly queue?: ObjectAddArgumentsFilterBufferQueue;
  readonly status?: string;
  readonly position?: string;
  readonly insert?: ObjectAddArgumentsFilterBufferInsert;
  readonly outdev: string;
  readonly vnet_hdr_support?: boolean;
}
export interface ObjectAddArgumentsFilterRedirector {
  readonly netdev: string;
  readonly queue?: ObjectAddArgumentsFilterBufferQueue;
  readonly status?: string;
  readonly position?: string;
  readonly insert?: ObjectAddArgumentsFilterBufferInsert;
  readonly indev?: string;
  readonly outdev?: string;
  readonly vnet_hdr_support?: boolean;
}
export interface ObjectAddArgumentsFilterReplay {
  readonly netdev: string;
  readonly queue?: ObjectAddArgumentsFilterBufferQueue;
  readonly status?: string;
  readonly position?: string;
  readonly insert?: ObjectAddArgumentsFilterBufferInsert;
}
export interface ObjectAddArgumentsFilterRewriter {
  readonly netdev: string;
  readonly queue?: ObjectAddArgumentsFilterBufferQueue;
  readonly status?: string;
  readonly position?: string;
  readonly insert?: ObjectAddArgumentsFilterBufferInsert;
  readonly vnet_hdr_support?: boolean;
}
export interface ObjectAddArgumentsInputBarrier {
  readonly name: string;
  readonly server?: string;
  readonly port?: string;
  readonly 'x-origin'?: string;
  readonly 'y-origin'?: string;
  readonly width?: string;
  readonly height?: string;
}
export interface ObjectAddArgumentsInputLinux {
  readonly evdev: string;
  readonly grab_all?: boolean;
  readonly repeat?: boolean;
  readonly 'grab-toggle'?: ObjectAddArgumentsInputLinuxGrabToggle;
}
export interface ObjectAddArgumentsIothread {
  readonly 'aio-max-batch'?: number;
  readonly 'thread-pool-min'?: number;
  readonly 'thread-pool-max'?: number;
  readonly 'poll-max-ns'?: number;
  readonly 'poll-grow'?: number;
  readonly 'poll-shrink'?: number;
}
export interface ObjectAddArgumentsMainLoop {
  readonly 'aio-max-batch'?: number;
  readonly 'thread-pool-min'?: number;
  readonly 'thread-pool-max'?: number;
}
export interface ObjectAddArgumentsMemoryBackendEpc {
  readonly dump?: boolean;
  readonly 'host-nodes'?: readonly number[];
  readonly merge?: boolean;
  readonly policy?: ObjectAddArgumentsMemoryBackendEpcPolicy;
  readonly prealloc?: boolean;
  readonly 'prealloc-threads'?: number;
  readonly 'prealloc-context'?: string;
  readonly share?: boolean;
  readonly reserve?: boolean;
  readonly size: number;
  readonly 'x-use-canonical-path-for-ramblock-id'?: boolean;
}
export interface ObjectAddArgumentsMemoryBackendFile {
  readonly dump?: boolean;
  readonly 'host-nodes'?: readonly number[];
  readonly merge?: boolean;
  readonly policy?: ObjectAddArgumentsMemoryBackendEpcPolicy;
  readonly prealloc?: boolean;
  readonly 'prealloc-threads'?: number;
  readonly 'prealloc-context'?: string;
  readonly share?: boolean;
  readonly reserve?: boolean;
  readonly size: number;
  readonly 'x-use-canonical-path-for-ramblock-id'?: boolean;
  readonly align?: number;
  readonly 'discard-data'?: boolean;
  readonly 'mem-path': string;
  readonly pmem?: boolean;
  readonly readonly?: boolean;
}
export interface ObjectAddArgumentsMemoryBackendMemfd {
  readonly dump?: boolean;
  readonly 'host-nodes'?: readonly number[];
  readonly merge?: boolean;
  readonly policy?: ObjectAddArgumentsMemoryBackendEpcPolicy;
  readonly prealloc?: boolean;
  readonly 'prealloc-threads'?: number;
  readonly 'prealloc-context'?: string;
  readonly share?: boolean;
  readonly reserve?: boolean;
  readonly size: number;
  readonly 'x-use-canonical-path-for-ramblock-id'?: boolean;
  readonly hugetlb?: boolean;
  readonly hugetlbsize?: number;
  readonly seal?: boolean;
}
export interface ObjectAddArgumentsMemoryBackendRam {
  readonly dump?: boolean;
  readonly 'host-nodes'?: readonly number[];
  readonly merge?: boolean;
  readonly policy?: ObjectAddArgumentsMemoryBackendEpcPolicy;
  readonly prealloc?: boolean;
  readonly 'prealloc-threads'?: number;
  readonly 'prealloc-context'?: string;
  readonly share?: boolean;
  readonly reserve?: boolean;
  readonly size: number;
  readonly 'x-use-canonical-path-for-ramblock-id'?: boolean;
}
export interface ObjectAddArgumentsPrManagerHelper {
  readonly path: string;
}
export interface ObjectAddArgumentsQtest {
  readonly chardev: string;
  readonly log?: string;
}
export interface ObjectAddArgumentsRngBuiltin {
  readonly opened?: boolean;
}
export interface ObjectAddArgumentsRngEgd {
  readonly opened?: boolean;
  readonly chardev: string;
}
export interface ObjectAddArgumentsRngRandom {
  readonly opened?: boolean;
  readonly filename?: string;
}
export interface ObjectAddArgumentsSecret {
  readonly loaded?: boolean;
  readonly format?: ObjectAddArgumentsSecretFormat;
  readonly keyid?: string;
  readonly iv?: string;
  readonly data?: string;
  readonly file?: string;
}
export interface ObjectAddArgumentsSecretKeyring {
  readonly loaded?: boolean;
  readonly format?: ObjectAddArgumentsSecretFormat;
  readonly keyid?: string;
  readonly iv?: string;
  readonly serial: number;
}
export interface ObjectAddArgumentsSevGuest {
  readonly 'sev-device'?: string;
  readonly 'dh-cert-file'?: string;
  readonly 'session-file'?: string;
  readonly policy?: number;
  readonly handle?: number;
  readonly cbitpos?: number;
  readonly 'reduced-phys-bits': number;
  readonly 'kernel-hashes'?: boolean;
}
export interface ObjectAddArgumentsThreadContext {
  readonly 'cpu-affinity'?: readonly number[];
  readonly 'node-affinity'?: readonly number[];
}
export interface ObjectAddArgumentsThrottleGroup {
  readonly limits?: ObjectAddArgumentsThrottleGroupLimits;
  readonly 'x-iops-total'?: number;
  readonly 'x-iops-total-max'?: number;
  readonly 'x-iops-total-max-length'?: number;
  readonly 'x-iops-read'?: number;
  readonly 'x-iops-read-max'?: number;
  readonly 'x-iops-read-max-length'?: number;
  readonly 'x-iops-write'?: number;
  readonly 'x-iops-write-max'?: number;
  readonly 'x-iops-write-max-length'?: number;
  readonly 'x-bps-total'?: number;
  readonly 'x-bps-total-max'?: number;
  readonly 'x-bps-total-max-length'?: number;
  readonly 'x-bps-read'?: number;
  readonly 'x-bps-read-max'?: number;
  readonly 'x-bps-read-max-length'?: number;
  readonly 'x-bps-write'?: number;
  readonly 'x-bps-write-max'?: number;
  readonly 'x-bps-write-max-length'?: number;
  readonly 'x-iops-size'?: number;
}
export interface ObjectAddArgumentsTlsCredsAnon {
  readonly 'verify-peer'?: boolean;
  readonly dir?: string;
  readonly endpoint?: ObjectAddArgumentsTlsCredsAnonEndpoint;
  readonly priority?: string;
  readonly loaded?: boolean;
}
export interface ObjectAddArgumentsTlsCredsPsk {
  readonly 'verify-peer'?: boolean;
  readonly dir?: string;
  readonly endpoint?: ObjectAddArgumentsTlsCredsAnonEndpoint;
  readonly priority?: string;
  readonly loaded?: boolean;
  readonly username?: string;
}
export interface ObjectAddArgumentsTlsCredsX509 {
  readonly 'verify-peer'?: boolean;
  readonly dir?: string;
  readonly endpoint?: ObjectAddArgumentsTlsCredsAnonEndpoint;
  readonly priority?: string;
  readonly loaded?: boolean;
  readonly 'sanity-check'?: boolean;
  readonly passwordid?: string;
}
export interface ObjectAddArgumentsTlsCipherSuites {
  readonly 'verify-peer'?: boolean;
  readonly dir?: string;
  readonly endpoint?: ObjectAddArgumentsTlsCredsAnonEndpoint;
  readonly priority?: string;
}
export interface ObjectAddArgumentsXRemoteObject {
  readonly fd: string;
  readonly devid: string;
}
export interface ObjectAddArgumentsXVfioUserServer {
  readonly socket: QueryMigrateResultSocketAddress;
  readonly device: string;
}
export interface QueryPciResultDevices {
  readonly bus: number;
  readonly slot: number;
  readonly function: number;
  readonly class_info: QueryPciResultDevicesClassInfo;
  readonly id: QueryPciResultDevicesId;
  readonly irq?: number;
  readonly irq_pin: number;
  readonly qdev_id: string;
  readonly pci_bridge?: QueryPciResultDevicesPciBridge;
  readonly regions: readonly QueryPciResultDevicesRegions[];
}
export type BlockdevBackupArgumentsSync = 'top' | 'full' | 'none' | 'incremental' | 'bitmap';
export type BlockdevBackupArgumentsBitmapMode = 'on-success' | 'never' | 'always';
export type BlockdevBackupArgumentsOnSourceError = 'report' | 'ignore' | 'enospc' | 'stop' | 'auto';
export interface BlockdevBackupArgumentsXPerf {
  readonly 'use-copy-range'?: boolean;
  readonly 'max-workers'?: number;
  readonly 'max-chunk'?: number;
}
export type BlockdevMirrorArgumentsCopyMode = 'background' | 'write-blocking';
export type QueryJobsResultType =
  | 'commit'
  | 'stream'
  | 'mirror'
  | 'backup'
  | 'create'
  | 'amend'
  | 'snapshot-load'
  | 'snapshot-save'
  | 'snapshot-delete';
export type QueryJobsResultStatus =
  | 'undefined'
  | 'created'
  | 'running'
  | 'paused'
  | 'ready'
  | 'standby'
  | 'waiting'
  | 'pending'
  | 'aborting'
  | 'concluded'
  | 'null';
export type NbdServerStartArgumentsAddr =
  | ({ readonly type: 'inet' } & NbdServerStartArgumentsAddrInet)
  | ({ readonly type: 'unix' } & NbdServerStartArgumentsAddrUnix)
  | ({ readonly type: 'vsock' } & NbdServerStartArgumentsAddrVsock)
  | ({ readonly type: 'fd' } & NbdServerStartArgumentsAddrFd);
export interface BlockExportAddArgumentsNbd {
  readonly name?: string;
  readonly description?: string;
  readonly bitmaps?: readonly BlockExportAddArgumentsNbdBitmaps[];
  readonly 'allocation-depth'?: boolean;
}
export interface BlockExportAddArgumentsVhostUserBlk {
  readonly addr: QueryMigrateResultSocketAddress;
  readonly 'logical-block-size'?: number;
  readonly 'num-queues'?: number;
}
export interface BlockExportAddArgumentsFuse {
  readonly mountpoint: string;
  readonly growable?: boolean;
  readonly 'allow-other'?: BlockExportAddArgumentsFuseAllowOther;
}
export interface BlockExportAddArgumentsVduseBlk {
  readonly name: string;
  readonly 'num-queues'?: number;
  readonly 'queue-size'?: number;
  readonly 'logical-block-size'?: number;
  readonly serial?: string;
}
export type BlockExportDelArgumentsMode = 'safe' | 'hard';
export type ScreendumpArgumentsFormat = 'ppm' | 'png';
export interface MigrateSetCapabilitiesArgumentsCapabilities {
  readonly capability: MigrateSetCapabilitiesArgumentsCapabilitiesCapability;
  readonly state: boolean;
}
export interface QueryVersionResultQemu {
  readonly major: number;
  readonly minor: number;
  readonly micro: number;
}
export type ShutdownDataReason =
  | 'none'
  | 'host-error'
  | 'host-qmp-quit'
  | 'host-qmp-system-reset'
  | 'host-signal'
  | 'host-ui'
  | 'guest-shutdown'
  | 'guest-reset'
  | 'guest-panic'
  | 'subsystem-reset'
  | 'snapshot-load';
export type WatchdogDataAction =
  'reset' | 'shutdown' | 'poweroff' | 'pause' | 'debug' | 'none' | 'inject-nmi';
export type GuestPanickedDataAction = 'pause' | 'poweroff' | 'run';
export type GuestPanickedDataInfo =
  | ({ readonly type: 'hyper-v' } & GuestPanickedDataInfoHyperV)
  | ({ readonly type: 's390' } & GuestPanickedDataInfoS390);
export type BlockIoErrorDataOperation = 'read' | 'write';
export type BlockIoErrorDataAction = 'ignore' | 'report' | 'stop';
export interface ChardevAddArgumentsBackendFile {
  readonly data: ChardevAddArgumentsBackendFileData;
}
export interface ChardevAddArgumentsBackendSerial {
  readonly data: ChardevAddArgumentsBackendSerialData;
}
export interface ChardevAddArgumentsBackendSocket {
  readonly data: ChardevAddArgumentsBackendSocketData;
}
export interface ChardevAddArgumentsBackendUdp {
  readonly data: ChardevAddArgumentsBackendUdpData;
}
export interface ChardevAddArgumentsBackendPty {
  readonly data: ChardevAddArgumentsBackendPtyData;
}
export interface ChardevAddArgumentsBackendMux {
  readonly data: ChardevAddArgumentsBackendMuxData;
}
export interface ChardevAddArgumentsBackendStdio {
  readonly data: ChardevAddArgumentsBackendStdioData;
}
export interface ChardevAddArgumentsBackendSpicevmc {
  readonly data: ChardevAddArgumentsBackendSpicevmcData;
}
export interface ChardevAddArgumentsBackendSpiceport {
  readonly data: ChardevAddArgumentsBackendSpiceportData;
}
export interface ChardevAddArgumentsBackendQemuVdagent {
  readonly data: ChardevAddArgumentsBackendQemuVdagentData;
}
export interface ChardevAddArgumentsBackendDbus {
  readonly data: ChardevAddArgumentsBackendDbusData;
}
export interface ChardevAddArgumentsBackendVc {
  readonly data: ChardevAddArgumentsBackendVcData;
}
export interface ChardevAddArgumentsBackendRingbuf {
  readonly data: ChardevAddArgumentsBackendRingbufData;
}
export interface QueryBlockstatsResultStatsTimedStats {
  readonly interval_length: number;
  readonly min_rd_latency_ns: number;
  readonly max_rd_latency_ns: number;
  readonly avg_rd_latency_ns: number;
  readonly min_wr_latency_ns: number;
  readonly max_wr_latency_ns: number;
  readonly avg_wr_latency_ns: number;
  readonly min_flush_latency_ns: number;
  readonly max_flush_latency_ns: number;
  readonly avg_flush_latency_ns: number;
  readonly avg_rd_queue_depth: number;
  readonly avg_wr_queue_depth: number;
}
export interface QueryBlockstatsResultStatsRdLatencyHistogram {
  readonly boundaries: readonly number[];
  readonly bins: readonly number[];
}
export interface QueryBlockstatsResultDriverSpecificFile {
  readonly 'discard-nb-ok': number;
  readonly 'discard-nb-failed': number;
  readonly 'discard-bytes-ok': number;
}
export interface QueryBlockstatsResultDriverSpecificNvme {
  readonly 'completion-errors': number;
  readonly 'aligned-accesses': number;
  readonly 'unaligned-accesses': number;
}
export type QueryCpusFastResultS390xCpuState =
  'uninitialized' | 'stopped' | 'check-stop' | 'operating' | 'load';
export interface QueryMemoryDevicesResultDimmData {
  readonly id?: string;
  readonly addr: number;
  readonly size: number;
  readonly slot: number;
  readonly node: number;
  readonly memdev: string;
  readonly hotplugged: boolean;
  readonly hotpluggable: boolean;
}
export interface QueryMemoryDevicesResultVirtioPmemData {
  readonly id?: string;
  readonly memaddr: number;
  readonly size: number;
  readonly memdev: string;
}
export interface QueryMemoryDevicesResultVirtioMemData {
  readonly id?: string;
  readonly memaddr: number;
  readonly 'requested-size': number;
  readonly size: number;
  readonly 'max-size': number;
  readonly 'block-size': number;
  readonly node: number;
  readonly memdev: string;
}
export interface QueryMemoryDevicesResultSgxEpcData {
  readonly id?: string;
  readonly memaddr: number;
  readonly size: number;
  readonly node: number;
  readonly memdev: string;
}
export interface MigrateSetParametersArgumentsBlockBitmapMappingBitmaps {
  readonly name: string;
  readonly alias: string;
  readonly transform?: MigrateSetParametersArgumentsBlockBitmapMappingBitmapsTransform;
}
export interface QueryMigrateResultSocketAddressInet {
  readonly host: string;
  readonly port: string;
  readonly numeric?: boolean;
  readonly to?: number;
  readonly ipv4?: boolean;
  readonly ipv6?: boolean;
  readonly 'keep-alive'?: boolean;
  readonly mptcp?: boolean;
}
export interface QueryMigrateResultSocketAddressUnix {
  readonly path: string;
  readonly abstract?: boolean;
  readonly tight?: boolean;
}
export interface QueryMigrateResultSocketAddressVsock {
  readonly cid: string;
  readonly port: string;
}
export interface QueryMigrateResultSocketAddressFd {
  readonly str: string;
}
export interface SendKeyArgumentsKeysNumber {
  readonly data: number;
}
export interface SendKeyArgumentsKeysQcode {
  readonly data: SendKeyArgumentsKeysQcodeData;
}
export type QueryNamedBlockNodesResultImageFormatSpecific =
  | ({ readonly type: 'qcow2' } & QueryNamedBlockNodesResultImageFormatSpecificQcow2)
  | ({ readonly type: 'vmdk' } & QueryNamedBlockNodesResultImageFormatSpecificVmdk)
  | ({ readonly type: 'luks' } & QueryNamedBlockNodesResultImageFormatSpecificLuks)
  | ({ readonly type: 'rbd' } & QueryNamedBlockNodesResultImageFormatSpecificRbd);
export type BlockdevAddArgumentsBlkdebugImage = BlockdevAddArguments | string;
export interface BlockdevAddArgumentsBlkdebugInjectError {
  readonly event: BlockdevAddArgumentsBlkdebugInjectErrorEvent;
  readonly state?: number;
  readonly iotype?: BlockdevAddArgumentsBlkdebugInjectErrorIotype;
  readonly errno?: number;
  readonly sector?: number;
  readonly once?: boolean;
  readonly immediately?: boolean;
}
export interface BlockdevAddArgumentsBlkdebugSetState {
  readonly event: BlockdevAddArgumentsBlkdebugInjectErrorEvent;
  readonly state?: number;
  readonly new_state: number;
}
export type BlockdevAddArgumentsBlkdebugTakeChildPerms =
  'consistent-read' | 'write' | 'write-unchanged' | 'resize';
export type BlockdevAddArgumentsCopyBeforeWriteOnCbwError = 'break-guest-write' | 'break-snapshot';
export type BlockdevAddArgumentsFileLocking = 'auto' | 'on' | 'off';
export type BlockdevAddArgumentsFileAio = 'threads' | 'native' | 'io_uring';
export type BlockdevAddArgumentsIscsiTransport = 'tcp' | 'iser';
export type BlockdevAddArgumentsIscsiHeaderDigest = 'crc32c' | 'none' | 'crc32c-none' | 'none-crc32c';
export interface BlockdevAddArgumentsNfsServer {
  readonly type: BlockdevAddArgumentsNfsServerType;
  readonly host: string;
}
export type BlockdevAddArgumentsQcow2Backing = BlockdevAddArguments | string | null;
export type BlockdevAddArgumentsQcow2OverlapCheck =
  BlockdevAddArgumentsQcow2OverlapCheckObject | BlockdevAddArgumentsQcow2OverlapCheckEnum;
export type BlockdevAddArgumentsQcow2Encrypt =
  | ({ readonly format: 'aes' } & BlockdevAddArgumentsQcow2EncryptAes)
  | ({ readonly format: 'luks' } & BlockdevAddArgumentsQcow2EncryptLuks);
export type BlockdevAddArgumentsQcowEncrypt = {
  readonly format: 'aes';
} & BlockdevAddArgumentsQcow2EncryptAes;
export type BlockdevAddArgumentsQuorumReadPattern = 'quorum' | 'fifo';
export type BlockdevAddArgumentsRbdEncrypt =
  | ({ readonly format: 'luks' } & BlockdevAddArgumentsRbdEncryptLuks)
  | ({ readonly format: 'luks2' } & BlockdevAddArgumentsRbdEncryptLuks2);
export type BlockdevAddArgumentsRbdAuthClientRequired = 'cephx' | 'none';
export interface BlockdevAddArgumentsRbdServer {
  readonly host: string;
  readonly port: string;
}
export type BlockdevAddArgumentsReplicationMode = 'primary' | 'secondary';
export type BlockdevAddArgumentsSshHostKeyCheck =
  | ({ readonly mode: 'hash' } & BlockdevAddArgumentsSshHostKeyCheckHash)
  | { readonly mode: 'none' | 'known_hosts' };
export interface TransactionArgumentsActionsAbort {
  readonly data: TransactionArgumentsActionsAbortData;
}
export interface TransactionArgumentsActionsBlockDirtyBitmapAdd {
  readonly data: BlockDirtyBitmapAddArguments;
}
export interface TransactionArgumentsActionsBlockDirtyBitmapRemove {
  readonly data: BlockDirtyBitmapRemoveArguments;
}
export interface TransactionArgumentsActionsBlockDirtyBitmapMerge {
  readonly data: TransactionArgumentsActionsBlockDirtyBitmapMergeData;
}
export interface TransactionArgumentsActionsBlockdevBackup {
  readonly data: BlockdevBackupArguments;
}
export interface TransactionArgumentsActionsBlockdevSnapshot {
  readonly data: BlockdevSnapshotArguments;
}
export interface TransactionArgumentsActionsBlockdevSnapshotInternalSync {
  readonly data: BlockdevSnapshotInternalSyncArguments;
}
export interface TransactionArgumentsActionsBlockdevSnapshotSync {
  readonly data: TransactionArgumentsActionsBlockdevSnapshotSyncData;
}
export interface TransactionArgumentsActionsDriveBackup {
  readonly data: TransactionArgumentsActionsDriveBackupData;
}
export type TransactionArgumentsPropertiesCompletionMode = 'individual' | 'grouped';
export type ObjectAddArgumentsAuthzListPolicy = 'deny' | 'allow';
export interface ObjectAddArgumentsAuthzListRules {
  readonly match: string;
  readonly policy: ObjectAddArgumentsAuthzListPolicy;
  readonly format?: ObjectAddArgumentsAuthzListRulesFormat;
}
export type ObjectAddArgumentsFilterBufferQueue = 'all' | 'rx' | 'tx';
export type ObjectAddArgumentsFilterBufferInsert = 'before' | 'behind';
export type ObjectAddArgumentsInputLinuxGrabToggle =
  'ctrl-ctrl' | 'alt-alt' | 'shift-shift' | 'meta-meta' | 'scrolllock' | 'ctrl-scrolllock';
export type ObjectAddArgumentsMemoryBackendEpcPolicy = 'default' | 'preferred' | 'bind' | 'interleave';
export type ObjectAddArgumentsSecretFormat = 'raw' | 'base64';
export interface ObjectAddArgumentsThrottleGroupLimits {
  readonly 'iops-total'?: number;
  readonly 'iops-total-max'?: number;
  readonly 'iops-total-max-length'?: number;
  readonly 'iops-read'?: number;
  readonly 'iops-read-max'?: number;
  readonly 'iops-read-max-length'?: number;
  readonly 'iops-write'?: number;
  readonly 'iops-write-max'?: number;
  readonly 'iops-write-max-length'?: number;
  readonly 'bps-total'?: number;
  readonly 'bps-total-max'?: number;
  readonly 'bps-total-max-length'?: number;
  readonly 'bps-read'?: number;
  readonly 'bps-read-max'?: number;
  readonly 'bps-read-max-length'?: number;
  readonly 'bps-write'?: number;
  readonly 'bps-write-max'?: number;
  readonly 'bps-write-max-length'?: number;
  readonly 'iops-size'?: number;
}
export type ObjectAddArgumentsTlsCredsAnonEndpoint = 'client' | 'server';
export interface QueryPciResultDevicesClassInfo {
  readonly desc?: string;
  readonly class: number;
}
export interface QueryPciResultDevicesId {
  readonly device: number;
  readonly vendor: number;
  readonly subsystem?: number;
  readonly 'subsystem-vendor'?: number;
}
export interface QueryPciResultDevicesPciBridge {
  readonly bus: QueryPciResultDevicesPciBridgeBus;
  readonly devices?: readonly QueryPciResultDevices[];
}
export interface QueryPciResultDevicesRegions {
  readonly bar: number;
  readonly type: string;
  readonly address: number;
  readonly size: number;
  readonly prefetch?: boolean;
  readonly mem_type_64?: boolean;
}
export interface NbdServerStartArgumentsAddrInet {
  readonly data: QueryMigrateResultSocketAddressInet;
}
export interface NbdServerStartArgumentsAddrUnix {
  readonly data: QueryMigrateResultSocketAddressUnix;
}
export interface NbdServerStartArgumentsAddrVsock {
  readonly data: QueryMigrateResultSocketAddressVsock;
}
export interface NbdServerStartArgumentsAddrFd {
  readonly data: QueryMigrateResultSocketAddressFd;
}
export type BlockExportAddArgumentsNbdBitmaps = string | BlockDirtyBitmapRemoveArguments;
export type BlockExportAddArgumentsFuseAllowOther = 'off' | 'on' | 'auto';
export type MigrateSetCapabilitiesArgumentsCapabilitiesCapability =
  | 'xbzrle'
  | 'rdma-pin-all'
  | 'auto-converge'
  | 'zero-blocks'
  | 'compress'
  | 'events'
  | 'postcopy-ram'
  | 'x-colo'
  | 'release-ram'
  | 'block'
  | 'return-path'
  | 'pause-before-switchover'
  | 'multifd'
  | 'dirty-bitmaps'
  | 'postcopy-blocktime'
  | 'late-block-activate'
  | 'x-ignore-shared'
  | 'validate-uuid'
  | 'background-snapshot'
  | 'zero-copy-send'
  | 'postcopy-preempt';
export interface GuestPanickedDataInfoHyperV {
  readonly arg1: number;
  readonly arg2: number;
  readonly arg3: number;
  readonly arg4: number;
  readonly arg5: number;
}
export interface GuestPanickedDataInfoS390 {
  readonly core: number;
  readonly 'psw-mask': number;
  readonly 'psw-addr': number;
  readonly reason: GuestPanickedDataInfoS390Reason;
}
export interface ChardevAddArgumentsBackendFileData {
  readonly logfile?: string;
  readonly logappend?: boolean;
  readonly in?: string;
  readonly out: string;
  readonly append?: boolean;
}
export interface ChardevAddArgumentsBackendSerialData {
  readonly logfile?: string;
  readonly logappend?: boolean;
  readonly device: string;
}
export interface ChardevAddArgumentsBackendSocketData {
  readonly logfile?: string;
  readonly logappend?: boolean;
  readonly addr: NbdServerStartArgumentsAddr;
  readonly 'tls-creds'?: string;
  readonly 'tls-authz'?: string;
  readonly server?: boolean;
  readonly wait?: boolean;
  readonly nodelay?: boolean;
  readonly telnet?: boolean;
  readonly tn3270?: boolean;
  readonly websocket?: boolean;
  readonly reconnect?: number;
}
export interface ChardevAddArgumentsBackendUdpData {
  readonly logfile?: string;
  readonly logappend?: boolean;
  readonly remote: NbdServerStartArgumentsAddr;
  readonly local?: NbdServerStartArgumentsAddr;
}
export interface ChardevAddArgumentsBackendPtyData {
  readonly logfile?: string;
  readonly logappend?: boolean;
}
export interface ChardevAddArgumentsBackendMuxData {
  readonly logfile?: string;
  readonly logappend?: boolean;
  readonly chardev: string;
}
export interface ChardevAddArgumentsBackendStdioData {
  readonly logfile?: string;
  readonly logappend?: boolean;
  readonly signal?: boolean;
}
export interface ChardevAddArgumentsBackendSpicevmcData {
  readonly logfile?: string;
  readonly logappend?: boolean;
  readonly type: string;
}
export interface ChardevAddArgumentsBackendSpiceportData {
  readonly logfile?: string;
  readonly logappend?: boolean;
  readonly fqdn: string;
}
export interface ChardevAddArgumentsBackendQemuVdagentData {
  readonly logfile?: string;
  readonly logappend?: boolean;
  readonly mouse?: boolean;
  readonly clipboard?: boolean;
}
export interface ChardevAddArgumentsBackendDbusData {
  readonly logfile?: string;
  readonly logappend?: boolean;
  readonly name: string;
}
export interface ChardevAddArgumentsBackendVcData {
  readonly logfile?: string;
  readonly logappend?: boolean;
  readonly width?: number;
  readonly height?: number;
  readonly cols?: number;
  readonly rows?: number;
}
export interface ChardevAddArgumentsBackendRingbufData {
  readonly logfile?: string;
  readonly logappend?: boolean;
  readonly size?: number;
}
export interface MigrateSetParametersArgumentsBlockBitmapMappingBitmapsTransform {
  readonly persistent?: boolean;
}
export type SendKeyArgumentsKeysQcodeData =
  | 'unmapped'
  | 'shift'
  | 'shift_r'
  | 'alt'
  | 'alt_r'
  | 'ctrl'
  | 'ctrl_r'
  | 'menu'
  | 'esc'
  | '1'
  | '2'
  | '3'
  | '4'
  | '5'
  | '6'
  | '7'
  | '8'
  | '9'
  | '0'
  | 'minus'
  | 'equal'
  | 'backspace'
  | 'tab'
  | 'q'
  | 'w'
  | 'e'
  | 'r'
  | 't'
  | 'y'
  | 'u'
  | 'i'
  | 'o'
  | 'p'
  | 'bracket_left'
  | 'bracket_right'
  | 'ret'
  | 'a'
  | 's'
  | 'd'
  | 'f'
  | 'g'
  | 'h'
  | 'j'
  | 'k'
  | 'l'
  | 'semicolon'
  | 'apostrophe'
  | 'grave_accent'
  | 'backslash'
  | 'z'
  | 'x'
  | 'c'
  | 'v'
  | 'b'
  | 'n'
  | 'm'
  | 'comma'
  | 'dot'
  | 'slash'
  | 'asterisk'
  | 'spc'
  | 'caps_lock'
  | 'f1'
  | 'f2'
  | 'f3'
  | 'f4'
  | 'f5'
  | 'f6'
  | 'f7'
  | 'f8'
  | 'f9'
  | 'f10'
  | 'num_lock'
  | 'scroll_lock'
  | 'kp_divide'
  | 'kp_multiply'
  | 'kp_subtract'
  | 'kp_add'
  | 'kp_enter'
  | 'kp_decimal'
  | 'sysrq'
  | 'kp_0'
  | 'kp_1'
  | 'kp_2'
  | 'kp_3'
  | 'kp_4'
  | 'kp_5'
  | 'kp_6'
  | 'kp_7'
  | 'kp_8'
  | 'kp_9'
  | 'less'
  | 'f11'
  | 'f12'
  | 'print'
  | 'home'
  | 'pgup'
  | 'pgdn'
  | 'end'
  | 'left'
  | 'up'
  | 'down'
  | 'right'
  | 'insert'
  | 'delete'
  | 'stop'
  | 'again'
  | 'props'
  | 'undo'
  | 'front'
  | 'copy'
  | 'open'
  | 'paste'
  | 'find'
  | 'cut'
  | 'lf'
  | 'help'
  | 'meta_l'
  | 'meta_r'
  | 'compose'
  | 'pause'
  | 'ro'
  | 'hiragana'
  | 'henkan'
  | 'yen'
  | 'muhenkan'
  | 'katakanahiragana'
  | 'kp_comma'
  | 'kp_equals'
  | 'power'
  | 'sleep'
  | 'wake'
  | 'audionext'
  | 'audioprev'
  | 'audiostop'
  | 'audioplay'
  | 'audiomute'
  | 'volumeup'
  | 'volumedown'
  | 'mediaselect'
  | 'mail'
  | 'calculator'
  | 'computer'
  | 'ac_home'
  | 'ac_back'
  | 'ac_forward'
  | 'ac_refresh'
  | 'ac_bookmarks'
  | 'lang1'
  | 'lang2';
export interface QueryNamedBlockNodesResultImageFormatSpecificQcow2 {
  readonly data: QueryNamedBlockNodesResultImageFormatSpecificQcow2Data;
}
export interface QueryNamedBlockNodesResultImageFormatSpecificVmdk {
  readonly data: QueryNamedBlockNodesResultImageFormatSpecificVmdkData;
}
export interface QueryNamedBlockNodesResultImageFormatSpecificLuks {
  readonly data: QueryNamedBlockNodesResultImageFormatSpecificLuksData;
}
export interface QueryNamedBlockNodesResultImageFormatSpecificRbd {
  readonly data: QueryNamedBlockNodesResultImageFormatSpecificRbdData;
}
export type BlockdevAddArgumentsBlkdebugInjectErrorEvent =
  | 'l1_update'
  | 'l1_grow_alloc_table'
  | 'l1_grow_write_table'
  | 'l1_grow_activate_table'
  | 'l2_load'
  | 'l2_update'
  | 'l2_update_compressed'
  | 'l2_alloc_cow_read'
  | 'l2_alloc_write'
  | 'read_aio'
  | 'read_backing_aio'
  | 'read_compressed'
  | 'write_aio'
  | 'write_compressed'
  | 'vmstate_load'
  | 'vmstate_save'
  | 'cow_read'
  | 'cow_write'
  | 'reftable_load'
  | 'reftable_grow'
  | 'reftable_update'
  | 'refblock_load'
  | 'refblock_update'
  | 'refblock_update_part'
  | 'refblock_alloc'
  | 'refblock_alloc_hookup'
  | 'refblock_alloc_write'
  | 'refblock_alloc_write_blocks'
  | 'refblock_alloc_write_table'
  | 'refblock_alloc_switch_table'
  | 'cluster_alloc'
  | 'cluster_alloc_bytes'
  | 'cluster_free'
  | 'flush_to_os'
  | 'flush_to_disk'
  | 'pwritev_rmw_head'
  | 'pwritev_rmw_after_head'
  | 'pwritev_rmw_tail'
  | 'pwritev_rmw_after_tail'
  | 'pwritev'
  | 'pwritev_zero'
  | 'pwritev_done'
  | 'empty_image_prepare'
  | 'l1_shrink_write_table'
  | 'l1_shrink_free_l2_clusters'
  | 'cor_write'
  | 'cluster_alloc_space'
  | 'none';
export type BlockdevAddArgumentsBlkdebugInjectErrorIotype =
  'read' | 'write' | 'write-zeroes' | 'discard' | 'flush' | 'block-status';
export type BlockdevAddArgumentsNfsServerType = 'inet';
export interface BlockdevAddArgumentsQcow2OverlapCheckObject {
  readonly template?: BlockdevAddArgumentsQcow2OverlapCheckEnum;
  readonly 'main-header'?: boolean;
  readonly 'active-l1'?: boolean;
  readonly 'active-l2'?: boolean;
  readonly 'refcount-table'?: boolean;
  readonly 'refcount-block'?: boolean;
  readonly 'snapshot-table'?: boolean;
  readonly 'inactive-l1'?: boolean;
  readonly 'inactive-l2'?: boolean;
  readonly 'bitmap-directory'?: boolean;
}
export type BlockdevAddArgumentsQcow2OverlapCheckEnum = 'none' | 'constant' | 'cached' | 'all';
export interface BlockdevAddArgumentsQcow2EncryptAes {
  readonly 'key-secret'?: string;
}
export interface BlockdevAddArgumentsQcow2EncryptLuks {
  readonly 'key-secret'?: string;
}
export interface BlockdevAddArgumentsRbdEncryptLuks {
  readonly 'key-secret': string;
}
export interface BlockdevAddArgumentsRbdEncryptLuks2 {
  readonly 'key-secret': string;
}
export interface BlockdevAddArgumentsSshHostKeyCheckHash {
  readonly type: BlockdevAddArgumentsSshHostKeyCheckHashType;
  readonly hash: string;
}
export type TransactionArgumentsActionsAbortData = Record<string, never>;
export interface TransactionArgumentsActionsBlockDirtyBitmapMergeData {
  readonly node: string;
  readonly target: string;
  readonly bitmaps: readonly BlockExportAddArgumentsNbdBitmaps[];
}
export interface TransactionArgumentsActionsBlockdevSnapshotSyncData {
  readonly device?: string;
  readonly 'node-name'?: string;
  readonly 'snapshot-file': string;
  readonly 'snapshot-node-name'?: string;
  readonly format?: string;
  readonly mode?: TransactionArgumentsActionsBlockdevSnapshotSyncDataMode;
}
export interface TransactionArgumentsActionsDriveBackupData {
  readonly 'job-id'?: string;
  readonly device: string;
  readonly sync: BlockdevBackupArgumentsSync;
  readonly speed?: number;
  readonly bitmap?: string;
  readonly 'bitmap-mode'?: BlockdevBackupArgumentsBitmapMode;
  readonly compress?: boolean;
  readonly 'on-source-error'?: BlockdevBackupArgumentsOnSourceError;
  readonly 'on-target-error'?: BlockdevBackupArgumentsOnSourceError;
  readonly 'auto-finalize'?: boolean;
  readonly 'auto-dismiss'?: boolean;
  readonly 'filter-node-name'?: string;
  readonly 'x-perf'?: BlockdevBackupArgumentsXPerf;
  readonly target: string;
  readonly format?: string;
  readonly mode?: TransactionArgumentsActionsBlockdevSnapshotSyncDataMode;
}
export type ObjectAddArgumentsAuthzListRulesFormat = 'exact' | 'glob';
export interface QueryPciResultDevicesPciBridgeBus {
  readonly number: number;
  readonly secondary: number;
  readonly subordinate: number;
  readonly io_range: QueryPciResultDevicesPciBridgeBusIoRange;
  readonly memory_range: QueryPciResultDevicesPciBridgeBusIoRange;
  readonly prefetchable_range: QueryPciResultDevicesPciBridgeBusIoRange;
}
export type GuestPanickedDataInfoS390Reason =
  'unknown' | 'disabled-wait' | 'extint-loop' | 'pgmint-loop' | 'opint-loop';
export interface QueryNamedBlockNodesResultImageFormatSpecificQcow2Data {
  readonly compat: string;
  readonly 'data-file'?: string;
  readonly 'data-file-raw'?: boolean;
  readonly 'extended-l2'?: boolean;
  readonly 'lazy-refcounts'?: boolean;
  readonly corrupt?: boolean;
  readonly 'refcount-bits': number;
  readonly encrypt?: QueryNamedBlockNodesResultImageFormatSpecificQcow2DataEncrypt;
  readonly bitmaps?: readonly QueryNamedBlockNodesResultImageFormatSpecificQcow2DataBitmaps[];
  readonly 'compression-type': QueryNamedBlockNodesResultImageFormatSpecificQcow2DataCompressionType;
}
export interface QueryNamedBlockNodesResultImageFormatSpecificVmdkData {
  readonly 'create-type': string;
  readonly cid: number;
  readonly 'parent-cid': number;
  readonly extents: readonly QueryNamedBlockNodesResultImage[];
}
export interface QueryNamedBlockNodesResultImageFormatSpecificLuksData {
  readonly 'cipher-alg': QueryNamedBlockNodesResultImageFormatSpecificLuksDataCipherAlg;
  readonly 'cipher-mode': QueryNamedBlockNodesResultImageFormatSpecificLuksDataCipherMode;
  readonly 'ivgen-alg': QueryNamedBlockNodesResultImageFormatSpecificLuksDataIvgenAlg;
  readonly 'ivgen-hash-alg'?: QueryNamedBlockNodesResultImageFormatSpecificLuksDataIvgenHashAlg;
  readonly 'hash-alg': QueryNamedBlockNodesResultImageFormatSpecificLuksDataIvgenHashAlg;
  readonly 'payload-offset': number;
  readonly 'master-key-iters': number;
  readonly uuid: string;
  readonly slots: readonly QueryNamedBlockNodesResultImageFormatSpecificLuksDataSlots[];
}
export interface QueryNamedBlockNodesResultImageFormatSpecificRbdData {
  readonly 'encryption-format'?: QueryNamedBlockNodesResultImageFormatSpecificRbdDataEncryptionFormat;
}
export type BlockdevAddArgumentsSshHostKeyCheckHashType = 'md5' | 'sha1' | 'sha256';
export type TransactionArgumentsActionsBlockdevSnapshotSyncDataMode = 'existing' | 'absolute-paths';
export interface QueryPciResultDevicesPciBridgeBusIoRange {
  readonly base: number;
  readonly limit: number;
}
export type QueryNamedBlockNodesResultImageFormatSpecificQcow2DataEncrypt =
  | ({ readonly format: 'luks' } & QueryNamedBlockNodesResultImageFormatSpecificLuksData)
  | { readonly format: 'aes' };
export interface QueryNamedBlockNodesResultImageFormatSpecificQcow2DataBitmaps {
  readonly name: string;
  readonly granularity: number;
  readonly flags: readonly QueryNamedBlockNodesResultImageFormatSpecificQcow2DataBitmapsFlags[];
}
export type QueryNamedBlockNodesResultImageFormatSpecificQcow2DataCompressionType = 'zlib' | 'zstd';
export type QueryNamedBlockNodesResultImageFormatSpecificLuksDataCipherAlg =
  | 'aes-128'
  | 'aes-192'
  | 'aes-256'
  | 'des'
  | '3des'
  | 'cast5-128'
  | 'serpent-128'
  | 'serpent-192'
  | 'serpent-256'
  | 'twofish-128'
  | 'twofish-192'
  | 'twofish-256';
export type QueryNamedBlockNodesResultImageFormatSpecificLuksDataCipherMode = 'ecb' | 'cbc' | 'xts' | 'ctr';
export type QueryNamedBlockNodesResultImageFormatSpecificLuksDataIvgenAlg = 'plain' | 'plain64' | 'essiv';
export type QueryNamedBlockNodesResultImageFormatSpecificLuksDataIvgenHashAlg =
  'md5' | 'sha1' | 'sha224' | 'sha256' | 'sha384' | 'sha512' | 'ripemd160';
export interface QueryNamedBlockNodesResultImageFormatSpecificLuksDataSlots {
  readonly active: boolean;
  readonly iters?: number;
  readonly stripes?: number;
  readonly 'key-offset': number;
}
export type QueryNamedBlockNodesResultImageFormatSpecificRbdDataEncryptionFormat = 'luks' | 'luks2';
export type QueryNamedBlockNodesResultImageFormatSpecificQcow2DataBitmapsFlags = 'in-use' | 'auto';
