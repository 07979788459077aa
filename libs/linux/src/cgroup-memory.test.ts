import fc from 'fast-check';
import { expect, test } from 'vitest';
import { memoryBring, type MemoryGroup } from './cgroup-memory.js';

/** A group as the kernel's documents describe one: of `used` bytes so many can be given back. */
class KernelGroup implements MemoryGroup {
  readonly files = new Map<string, string>();
  killed = 0;

  constructor(
    readonly version: 1 | 2,
    limit: number,
    private used: number,
    private readonly reclaimable: number,
  ) {
    if (version === 1)
      for (const file of ['memory.limit_in_bytes', 'memory.memsw.limit_in_bytes'])
        this.files.set(file, `${limit}`);
    else
      for (const [file, value] of [
        ['memory.max', `${limit}`],
        ['memory.high', 'max'],
        ['memory.swap.max', '0'],
      ] as const)
        this.files.set(file, value);
  }

  private reclaim(bytes: number): void {
    this.used = Math.max(bytes, this.used - this.reclaimable, 0);
  }

  read(file: string): Promise<string> {
    return Promise.resolve(file === 'memory.current' ? `${this.used}` : (this.files.get(file) ?? ''));
  }

  async write(file: string, value: string): Promise<void> {
    await Promise.resolve();
    const bytes = Number(value);
    const fail = (code: string): never => {
      throw Object.assign(new Error(code), { code });
    };
    if (!this.files.has(file)) fail('ENOENT');
    if (this.version === 1) {
      const [memory, both] = ['memory.limit_in_bytes', 'memory.memsw.limit_in_bytes'].map((f) =>
        f === file ? bytes : Number(this.files.get(f)),
      ) as [number, number];
      if (memory > both) fail('EINVAL');
      if (this.used > bytes) this.reclaim(bytes);
      if (this.used > bytes) fail('EBUSY');
    } else if (file !== 'memory.swap.max' && value !== 'max' && this.used > bytes) {
      this.reclaim(bytes);
      if (file === 'memory.max' && this.used > bytes) this.killed += 1;
    }
    this.files.set(file, value);
  }
}

const MIB = 2 ** 20;
const mib = (max: number) => fc.integer({ min: 0, max }).map((n) => n * MIB);

test('a bound is taken where what is in use fits, else stays as it was; nothing is killed for it', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(1 as const, 2 as const),
      mib(64),
      mib(64),
      mib(64),
      fc.integer({ min: 1, max: 128 }).map((n) => n * MIB),
      mib(64),
      async (version, slack, used, reclaimable, wanted, swap) => {
        const limit = used + slack + MIB;
        const group = new KernelGroup(version, limit, used, reclaimable);
        const taken = await memoryBring(group, wanted, swap);
        const file = version === 1 ? 'memory.limit_in_bytes' : 'memory.max';
        expect(taken).toBe(used - reclaimable <= wanted);
        expect(group.files.get(file)).toBe(`${taken ? wanted : limit}`);
        if (version === 1)
          expect(group.files.get('memory.memsw.limit_in_bytes')).toBe(`${taken ? wanted + swap : limit}`);
        else
          expect([group.files.get('memory.high'), group.files.get('memory.swap.max')]).toEqual([
            'max',
            `${swap}`,
          ]);
        expect(group.killed).toBe(0);
      },
    ),
  );
});
