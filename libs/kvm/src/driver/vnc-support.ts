import { run } from '@berth/linux';
import { SCREEN_CARD } from '../machine/machine-spec.js';

const PROGRAM = 'qemu-system-x86_64';
let able = false;
let cards = false;

/**
 * Why machines of this host can have no display; null when they can. QEMU reads its options in their order, so that one
 * that was built without VNC refuses this call. One that is able is not asked again.
 */
export async function vncRefusal(): Promise<string | null> {
  if (able) return null;
  try {
    await run(PROGRAM, ['-vnc', 'none', '-version']);
    able = true;
    return null;
  } catch (error) {
    return `the QEMU of this host has no VNC: ${(error as Error).message}`;
  }
}

/** Whether it knows the card that every screen but the first is on. One that does is not asked again. */
export async function hasScreenCards(): Promise<boolean> {
  if (cards) return true;
  const { stdout } = await run(PROGRAM, ['-device', `${SCREEN_CARD},help`]).catch(() => ({ stdout: '' }));
  cards = stdout.includes('vgamem');
  return cards;
}
