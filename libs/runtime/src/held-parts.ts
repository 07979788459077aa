import { type Held, keyText, type WorkloadKey } from './runtime.js';

/** Puts together what is found of each epoch in many places. */
export class HeldParts {
  private readonly found = new Map<string, { key: WorkloadKey; runs: boolean; parts: string[] }>();

  part({ instanceId, epoch }: WorkloadKey, part: string): void {
    this.of({ instanceId, epoch }).parts.push(part);
  }

  runs({ instanceId, epoch }: WorkloadKey): void {
    this.of({ instanceId, epoch }).runs = true;
  }

  all(): Held[] {
    return [...this.found.values()].map(({ key, runs, parts }) => ({ ...key, runs, parts: parts.sort() }));
  }

  private of(key: WorkloadKey): { runs: boolean; parts: string[] } {
    const text = keyText(key);
    const known = this.found.get(text) ?? { key, runs: false, parts: [] };
    this.found.set(text, known);
    return known;
  }
}
