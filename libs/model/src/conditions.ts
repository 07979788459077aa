/* Apart from instance.ts: browsers need these, and not the schemas. */

/** Type of the condition of a machine whose guest agent answers. It is good news: see {@link troublesOf}. */
export const agentConnectedType = 'AgentConnected';

/**
 * Type of the condition of a workload whose disk cannot be written. Its host has paused a machine, and lets it go on when the disk can
 * be written again; nobody need ask for it. A container is not paused: with reason {@link readOnlyReason} it runs on, and reads.
 */
export const storageErrorType = 'StorageError';
/** What it wrote to is read-only until its next start. */
export const readOnlyReason = 'ReadOnly';

/**
 * Type of the condition of a machine whose watchdog expired. With reason `Paused` its host holds it until somebody resumes,
 * resets or ends it; otherwise it runs, and the condition stays until its next run.
 */
export const watchdogExpiredType = 'WatchdogExpired';

/** Type of the condition of a container of which the kernel killed a process for want of memory, until its next run. */
export const outOfMemoryType = 'OutOfMemory';

/** Type of the condition of a machine whose file systems are frozen, until they are thawed. */
export const filesystemsFrozenType = 'FilesystemsFrozen';

/**
 * Type of the condition of a machine whose TPM has ended beside it, until its next run, which has the TPM again with what it holds.
 * Until then its memory cannot be written, and a reset would end it: {@link tpmLostRemedy}.
 */
export const tpmLostType = 'TpmLost';
export const tpmLostRemedy = 'restart the instance, which brings its TPM back with what it holds';

/** Type of the condition of an instance whose last snapshot by schedule was not taken, until one is. */
export const snapshotsLateType = 'SnapshotsLate';

/**
 * Types of the conditions of a workload whose probes answer for it: `Healthy` or `Unhealthy` by its liveness or start-up probe, `Ready` or
 * `NotReady` by its readiness probe. Until the first answer that counts none of them is there.
 */
export const healthyType = 'Healthy';
export const unhealthyType = 'Unhealthy';
export const readyType = 'Ready';
export const notReadyType = 'NotReady';

type Said = { readonly type: string; readonly reason: string };

/** Whether it says that a watchdog paused a machine, which is held until somebody lets it go on. */
export function isWatchdogHold({ type, reason }: Said): boolean {
  return type === watchdogExpiredType && reason === 'Paused';
}

/** Whether it says that its host paused a workload, and holds it. */
export function isHolding(said: Said): boolean {
  return (said.type === storageErrorType && said.reason !== readOnlyReason) || isWatchdogHold(said);
}

/** Whether a machine has lost its TPM. */
export function isTpmLost(conditions: readonly { readonly type: string }[]): boolean {
  return conditions.some(({ type }) => type === tpmLostType);
}

/** The conditions that keep it from its work. */
export function troublesOf<C extends { readonly type: string }>(conditions: readonly C[]): C[] {
  return conditions.filter((c) => !isGoodNews(c));
}

const good: ReadonlySet<string> = new Set([agentConnectedType, healthyType, readyType]);

/** Whether a condition says that something is as it should be. */
export function isGoodNews({ type }: { readonly type: string }): boolean {
  return good.has(type);
}
