import type { LinkAnswer, PromptAction } from '@berth/link';
import type { InstanceId } from '@berth/model';
import { RuntimeError, type Runtime, type StepContext, type WorkloadKey } from '@berth/runtime';
import type { Clock } from './clock.js';
import type { Placements } from './placements.js';
import { refusalOf } from './refusal.js';

/** Longest time one may take, milliseconds. */
const limitMs = 30_000;

/**
 * Actions that are no wanted state: they are done at once or refused, and nothing of them is repeated later. Each concerns
 * the newest epoch of an instance here.
 */
export class PromptActions {
  constructor(
    private readonly placements: Pick<Placements, 'newest'>,
    private readonly clock: Pick<Clock, 'now' | 'sleep'>,
  ) {}

  async act(instanceId: InstanceId, action: PromptAction, gone: AbortSignal): Promise<LinkAnswer> {
    const newest = this.placements.newest(instanceId);
    if ('refusal' in newest) return newest.refusal;
    const over = new AbortController();
    const late = new AbortController();
    void this.clock.sleep(limitMs, over.signal).then(() => {
      if (!over.signal.aborted) late.abort(new RuntimeError('deadline', `not done within ${limitMs} ms`));
    });
    try {
      const signal = AbortSignal.any([gone, late.signal]);
      const ctx = { signal, deadline: this.clock.now().getTime() + limitMs };
      await perform(newest.runtime, newest.key, action, ctx);
      return { status: 204 };
    } catch (error) {
      return refusalOf(error);
    } finally {
      over.abort();
    }
  }
}

/** @throws RuntimeError */
async function perform(
  runtime: Runtime,
  key: WorkloadKey,
  action: PromptAction,
  ctx: StepContext,
): Promise<void> {
  const { verb } = action;
  if (verb === 'freeze' || verb === 'thaw') {
    const { guest } = runtime;
    if (guest === undefined) throw lacking(runtime, verb);
    await (verb === 'thaw' ? guest.thaw(key, ctx.signal) : guest.freeze(key, action.seconds, ctx.signal));
    return;
  }
  const able = runtime[verb];
  if (able === undefined) throw lacking(runtime, verb);
  await able.call(runtime, key, ctx);
}

const lacking = ({ name }: Runtime, what: string): RuntimeError =>
  new RuntimeError('unsupported', `the runtime ${name} of this host has no ${what}`);
