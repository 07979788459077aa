import type { Observation, Runtime, WorkloadKey, WorkloadSpec } from '@berth/runtime';
import { context, patience } from './container-lab.js';

/** Prepares and starts; the pid of its init, or 0 where it ended at once. */
export async function up(runtime: Runtime, spec: WorkloadSpec): Promise<number> {
  await runtime.prepare(spec, context());
  await runtime.start(spec, context());
  return (await find(runtime, spec))?.pid ?? 0;
}

/** What `recover` says of it. */
export async function find(runtime: Runtime, key: WorkloadKey): Promise<Observation | undefined> {
  return (await runtime.recover()).find((o) => o.instanceId === key.instanceId && o.epoch === key.epoch);
}

/** Ends what is waited for, at the latest after a quarter of a minute of an idle machine. */
function leaving(): { readonly signal: AbortSignal; readonly abort: () => void } {
  const leave = new AbortController();
  const timer = setTimeout(() => leave.abort(), 15_000 * patience).unref();
  return {
    signal: leave.signal,
    abort: () => {
      clearTimeout(timer);
      leave.abort();
    },
  };
}

/** The observation of an end: from events, or at once where it has ended before we looked. */
export async function untilEnded(runtime: Runtime, key: WorkloadKey): Promise<Observation> {
  const leave = leaving();
  const events = runtime.observe(leave.signal);
  try {
    const now = await find(runtime, key);
    if (now?.phase === 'ended') return now;
    for await (const o of events) if (o.instanceId === key.instanceId && o.phase === 'ended') return o;
    throw new Error('no end was observed');
  } finally {
    leave.abort();
  }
}

/** The whole log as it is. */
export async function logText(runtime: Runtime, key: WorkloadKey): Promise<string> {
  const chunks: Uint8Array[] = [];
  for await (const c of runtime.logs?.(key, { follow: false }, AbortSignal.timeout(5000)) ?? [])
    chunks.push(c);
  return Buffer.concat(chunks).toString('utf8');
}

/** Follows the log until it holds a text. */
export async function logUntil(runtime: Runtime, key: WorkloadKey, wanted: string): Promise<string> {
  const leave = leaving();
  let text = '';
  const logs = runtime.logs?.(key, { follow: true }, leave.signal);
  for await (const chunk of logs ?? []) {
    text += Buffer.from(chunk).toString('utf8');
    if (text.includes(wanted)) break;
  }
  leave.abort();
  if (!text.includes(wanted)) throw new Error(`${JSON.stringify(wanted)} is not in the log: ${text}`);
  return text;
}
