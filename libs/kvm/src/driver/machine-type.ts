import { readFile } from 'node:fs/promises';
import { hasCode, run, writeFileAtomic } from '@berth/linux';
import type { VolumeId } from '@berth/model';
import { RuntimeError } from '@berth/runtime';
import { z } from 'zod';
import type { QemuAnswers } from '../accel/qemu-answers.js';
import type { DiskVolumes } from './ports.js';

/*
 * QEMU's `q35` means another machine with each of its versions: other devices, at other places, with other features. So a machine
 * keeps the versioned type that it was first started with, written down beside its root disk, and an upgrade of QEMU changes no
 * guest's hardware.
 */

const PROGRAM = '/usr/bin/qemu-system-x86_64';
/** The one whose newest version a new machine gets. */
const KIND = 'q35';
const TYPE = /^[a-z0-9][a-z0-9.-]{0,63}$/;

/** What a QEMU offers. */
export interface MachineTypes {
  /** `pc-q35-7.2` */
  readonly newest: string;
  readonly all: ReadonlySet<string>;
}

/** Of the QEMU that is installed now. @throws RuntimeError hostFault */
export async function machineTypes(qemu: QemuAnswers): Promise<MachineTypes> {
  const answer = await qemu.once('machines', z.string(), async () => {
    const { stdout } = await run(PROGRAM, ['-machine', 'help']).catch((cause: Error) => {
      throw new RuntimeError('hostFault', `QEMU does not say which machines it has: ${cause.message}`, {
        cause,
      });
    });
    return stdout;
  });
  return readMachineTypes(answer);
}

/** Reads the answer of `-machine help`: a name and its description in each line. @throws RuntimeError hostFault */
export function readMachineTypes(text: string): MachineTypes {
  const lines = text.split('\n').slice(1);
  const names = lines.flatMap((line) => /^(\S+)\s/.exec(line)?.[1] ?? []);
  const alias = lines.find((line) => line.startsWith(`${KIND} `));
  const newest = /\(alias of (\S+)\)/.exec(alias ?? '')?.[1];
  if (newest === undefined || !TYPE.test(newest))
    throw new RuntimeError('hostFault', `the QEMU of this host has no machine ${KIND}`);
  return { newest, all: new Set(names) };
}

/**
 * The type that the machine of a root disk has for as long as it has that disk; this QEMU's newest at its first start.
 * @throws RuntimeError hostFault where this QEMU has it no more, or not yet
 */
export async function machineTypeOf(
  root: VolumeId,
  volumes: Pick<DiskVolumes, 'machineTypePath'>,
  types: () => Promise<MachineTypes>,
): Promise<string> {
  const path = volumes.machineTypePath(root);
  const { newest, all } = await types();
  const kept = await readFile(path, 'utf8').catch((error: unknown) => {
    if (hasCode(error, 'ENOENT')) return null;
    throw error;
  });
  if (kept === null) {
    await writeFileAtomic(path, `${newest}\n`, { mode: 0o600 });
    return newest;
  }
  const type = kept.trim();
  if (all.has(type)) return type;
  throw new RuntimeError(
    'hostFault',
    `the QEMU of this host has no machine ${JSON.stringify(type)}, which this one was made as`,
    {
      remedy: `install a QEMU that has it; or remove ${path}, and its guest finds the hardware of ${newest}`,
    },
  );
}
