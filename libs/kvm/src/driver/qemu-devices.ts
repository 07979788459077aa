import { run } from '@berth/linux';
import { z } from 'zod';
import type { QemuAnswers } from '../accel/qemu-answers.js';

const PROGRAM = 'qemu-system-x86_64';

/** Whether QEMU was built with a device that has this property. */
export async function hasDevice(qemu: QemuAnswers, type: string, property: string): Promise<boolean> {
  const has = qemu.once(`device ${type}`, z.literal(true), async () => {
    const { stdout } = await run(PROGRAM, ['-device', `${type},help`]);
    if (!stdout.includes(property)) throw new Error(`the QEMU of this host has no ${type}`);
    return true as const;
  });
  return has.catch(() => false);
}
