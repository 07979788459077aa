import type { LinkAnswer } from '@berth/link';
import type { InstanceId, SendKeys } from '@berth/model';
import { RuntimeError } from '@berth/runtime';
import type { Placements } from './placements.js';
import { refusalOf } from './refusal.js';

/** Pictures of one host that are taken at a time: each is held here as a whole. */
const picturesAtOnce = 8;

/** The agent's side of what is asked of a display and answered at once: a picture of it, and keys. */
export class Screens {
  private taking = 0;

  constructor(private readonly placements: Pick<Placements, 'newest'>) {}

  /** @param head which of its screens, counted from 0 */
  async screenshot(instanceId: InstanceId, head: number, signal: AbortSignal): Promise<LinkAnswer> {
    const newest = this.placements.newest(instanceId);
    if ('refusal' in newest) return newest.refusal;
    if (this.taking >= picturesAtOnce)
      return {
        status: 429,
        body: { code: 'rateLimited', message: `this host takes ${picturesAtOnce} screenshots already` },
      };
    this.taking += 1;
    try {
      const { runtime, key } = newest;
      if (runtime.screenshot === undefined) throw lacking(runtime.name, 'screenshots');
      const png = await runtime.screenshot(key, signal, head);
      return { status: 200, body: once(png) };
    } catch (error) {
      return refusalOf(error);
    } finally {
      this.taking -= 1;
    }
  }

  async sendKeys(instanceId: InstanceId, { presses }: SendKeys, signal: AbortSignal): Promise<LinkAnswer> {
    const newest = this.placements.newest(instanceId);
    if ('refusal' in newest) return newest.refusal;
    try {
      const { runtime, key } = newest;
      if (runtime.sendKeys === undefined) throw lacking(runtime.name, 'keyboard');
      await runtime.sendKeys(key, presses, signal);
      return { status: 204 };
    } catch (error) {
      return refusalOf(error);
    }
  }
}

const lacking = (runtime: string, what: string): RuntimeError =>
  new RuntimeError('unsupported', `the runtime ${runtime} of this host has no ${what}`);

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  await Promise.resolve();
  yield bytes;
}
