import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { writeFileAtomic } from '@berth/linux';
import { AccelVerdict } from '@berth/model';
import { z } from 'zod';
import { accelVerdict, type AccelSample, type AccelSamples } from './accel-verdict.js';
import { deviceFault } from './host-facts.js';
import { probeRom } from './probe-payload.js';
import { probeRun } from './probe-run.js';
import { circumstances } from './qemu-answers.js';

const LIMIT_MS = 8_000;
/** After this many parts, a run this many times slower than emulation is ended. */
const FAR_PARTS = 4;
const FAR = 20;

const Remembered = z.strictObject({
  version: z.literal(1),
  /** Boot and QEMU the verdict was measured with. */
  on: z.string(),
  verdict: AccelVerdict,
});

/**
 * Whether KVM is worth anything here: the same payload under KVM and under emulation, timed, once per boot and QEMU.
 * It takes a fraction of a second where KVM is good, and seconds where it is not, so nobody waits for it.
 */
export class AccelProbe {
  readonly #life = new AbortController();
  #running: Promise<AccelVerdict> | null = null;

  /** @param path file that keeps the verdict */
  constructor(
    private readonly path: string,
    private readonly measure: (signal: AbortSignal) => Promise<AccelSamples> = measureHost,
  ) {}

  /** The verdict of this boot, or null when it was not measured yet. */
  async known(): Promise<AccelVerdict | null> {
    const fault = await deviceFault();
    if (fault !== null) return accelVerdict({ device: fault, tcg: null, kvm: null, kvmPlain: null });
    try {
      const { on, verdict } = Remembered.parse(JSON.parse(await readFile(this.path, 'utf8')));
      return on === (await circumstances()) ? verdict : null;
    } catch {
      // Absent or damaged: it is measured again.
      return null;
    }
  }

  /** The verdict, measured now if need be; one measurement for all who ask. Never rejects. */
  verdict(): Promise<AccelVerdict> {
    this.#running ??= this.#measured()
      .catch(({ message }: Error): AccelVerdict => ({
        verdict: 'unmeasured',
        reason: `the probe failed: ${message}`,
      }))
      .finally(() => (this.#running = null));
    return this.#running;
  }

  /** Ends a measurement under way. */
  close(): void {
    this.#life.abort();
  }

  async #measured(): Promise<AccelVerdict> {
    const known = await this.known();
    if (known !== null) return known;
    const verdict = accelVerdict(await this.measure(this.#life.signal));
    if (verdict.verdict === 'unmeasured' || this.#life.signal.aborted)
      return { verdict: 'unmeasured', reason: verdict.reason };
    await mkdir(join(this.path, '..'), { recursive: true, mode: 0o711 });
    const remembered = { version: 1, on: await circumstances(), verdict };
    await writeFileAtomic(this.path, `${JSON.stringify(remembered)}\n`, { mode: 0o600 });
    return verdict;
  }
}

/** Measures this host. Emulation runs twice and its better time counts, as KVM's does: a busy host slows one run. */
export async function measureHost(signal: AbortSignal): Promise<AccelSamples> {
  const device = await deviceFault();
  if (device !== null) return { device, tcg: null, kvm: null, kvmPlain: null };
  const dir = await mkdtemp(join(tmpdir(), 'berth-accel-'));
  try {
    await chmod(dir, 0o755);
    const rom = join(dir, 'probe.rom');
    await writeFile(rom, probeRom(), { mode: 0o444 });
    const tcg = await better(() => probeRun(rom, { accel: 'tcg', cpu: 'qemu64' }, LIMIT_MS, signal));
    const run = (cpu: string): Promise<AccelSample> =>
      better(() => probeRun(rom, { accel: 'kvm', cpu }, LIMIT_MS, signal, (parts) => isFar(parts, tcg)));
    const kvm = await run('host');
    const kvmPlain = kvm.outcome === 'failed' ? await run('qemu64') : null;
    return { device, tcg, kvm, kvmPlain };
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

/** Nothing more is to be learned from a run that lags so far behind. */
function isFar(ticks: readonly number[], tcg: AccelSample): boolean {
  const emulated = tcg.ticks[ticks.length - 1];
  return ticks.length >= FAR_PARTS && emulated !== undefined && (ticks.at(-1) ?? 0) > FAR * emulated;
}

/** The better of two runs; one is enough when it did not finish. */
async function better(run: () => Promise<AccelSample>): Promise<AccelSample> {
  const total = (sample: AccelSample): number => sample.ticks.at(-1) ?? Infinity;
  const first = await run();
  if (first.outcome !== 'finished') return first;
  const second = await run();
  return second.outcome === 'finished' && total(second) < total(first) ? second : first;
}
