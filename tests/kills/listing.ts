import { setTimeout as pause } from 'node:timers/promises';
import type { Instance } from '@berth/model';
import type { Berth } from '../e2e/berth.js';

/** Who asks within this time shares an answer, ms. */
const TOGETHER_MS = 400;
/** There are a few dozen; the API gives so many in one answer. */
const MOST = 500;

/**
 * Every instance in one answer for all who wait for one: dozens that each ask for their own, several times a second, are more
 * work for the API than what they wait for.
 */
export class Listing {
  private next: Promise<ReadonlyMap<string, Instance> | null> | null = null;

  constructor(private readonly berth: Berth) {}

  /** By name, as they are at some moment after this call; null while there is no API to ask. */
  ask(): Promise<ReadonlyMap<string, Instance> | null> {
    this.next ??= this.answer();
    return this.next;
  }

  private async answer(): Promise<ReadonlyMap<string, Instance> | null> {
    await pause(TOGETHER_MS);
    this.next = null;
    const { berth } = this;
    const answer = await berth
      .call<{ items: Instance[] }>('GET', `${berth.instances}?limit=${MOST}`)
      .catch(() => null);
    if (answer === null || answer.status >= 500) return null;
    if (answer.status !== 200) throw new Error(`no list: ${answer.status} ${JSON.stringify(answer.body)}`);
    return new Map(answer.body.items.map((instance) => [instance.name, instance]));
  }
}
