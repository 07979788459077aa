import type { AccelVerdict } from '@berth/model';
import type { RuntimeProbe } from '@berth/runtime';
import type { AccelProbe } from '../accel/accel-probe.js';
import { cpuModels } from '../accel/cpu-models.js';
import { accelFacts, isTenantBoundary } from '../accel/host-facts.js';
import type { QemuAnswers } from '../accel/qemu-answers.js';
import { firmwareKinds } from './firmware.js';
import type { HostChoices } from './host-choices.js';
import { hugePages } from './huge-pages.js';
import type { MachineDriver } from './machine-driver.js';
import { hasTpms } from '../tpm/swtpm.js';
import { hasScreenCards, vncRefusal } from './vnc-support.js';

/** Facets of every machine, and of those with a display. */
const FACETS = [
  'pause',
  'suspend',
  'reset',
  'watchdog',
  'update',
  'volumes',
  'nics',
  'cdroms',
  'logs',
  'console',
  'limits',
  'guest',
  'snapshots',
  'memorySnapshots',
  'copies',
  'clones',
  'exports',
  'numa',
] as const;
const DISPLAY = ['display', 'screenshot', 'sendKeys'] as const;

async function severalDisplays(displaysMost: number, qemu: QemuAnswers): Promise<string[]> {
  return displaysMost > 1 && (await hasScreenCards(qemu)) ? ['displays'] : [];
}

/** What a driver can do here, as known now. Whether KVM is worth anything may be measured later: `later` then gives the whole answer. */
export async function probeOf(
  driver: Pick<MachineDriver, 'versions' | 'displaysMost'>,
  accel: Pick<AccelProbe, 'known' | 'verdict'>,
  choices: HostChoices,
  qemu: QemuAnswers,
): Promise<RuntimeProbe> {
  const { cpu, kvm } = await accelFacts();
  const factsWith = async (verdict: AccelVerdict): Promise<RuntimeProbe['facts']> => ({
    cpu,
    cpuModels: await cpuModels(verdict.verdict === 'usable', qemu),
    hugePages: await hugePages(),
    numa: choices.numa.nodes(),
    accel: { kvm: verdict, tcg: true },
    tenantBoundary: isTenantBoundary(verdict),
  });
  const known = await accel.known();
  const facts = await factsWith(known ?? kvm);
  try {
    const versions = await driver.versions();
    const { displaysMost } = driver;
    const display =
      (await vncRefusal(qemu)) === null ? [...DISPLAY, ...(await severalDisplays(displaysMost, qemu))] : [];
    const tpm = (await hasTpms()) ? ['tpm'] : [];
    const sockets = (await choices.vsock.able(qemu)) ? ['vsock'] : [];
    const facets = [...FACETS, ...display, ...(await firmwareKinds()), ...tpm, ...sockets];
    const base = { ok: true, reason: null, facets } as const;
    const now: RuntimeProbe = { ...base, facts: { ...facts, versions } };
    if (known !== null) return now;
    const measured = accel.verdict();
    return {
      ...now,
      later: measured.then(async (v) => ({ ...base, facts: { ...(await factsWith(v)), versions } })),
    };
  } catch (error) {
    return { ok: false, reason: (error as Error).message, facets: [], facts };
  }
}
