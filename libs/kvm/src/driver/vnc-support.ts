import { run } from '@berth/linux';
import { z } from 'zod';
import type { QemuAnswers } from '../accel/qemu-answers.js';
import { SCREEN_CARD } from '../machine/machine-spec.js';
import { hasDevice } from './qemu-devices.js';

const PROGRAM = 'qemu-system-x86_64';

/**
 * Why machines of this host can have no display; null when they can. QEMU reads its options in their order, so that one
 * that was built without VNC refuses this call.
 */
export async function vncRefusal(qemu: QemuAnswers): Promise<string | null> {
  try {
    await qemu.once('vnc', z.literal(true), async () => {
      await run(PROGRAM, ['-vnc', 'none', '-version']);
      return true as const;
    });
    return null;
  } catch (error) {
    return `the QEMU of this host has no VNC: ${(error as Error).message}`;
  }
}

/** Whether it knows the card that every screen but the first is on. */
export const hasScreenCards = (qemu: QemuAnswers): Promise<boolean> => hasDevice(qemu, SCREEN_CARD, 'vgamem');
