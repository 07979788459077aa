import type { Consistency } from '@berth/model';

/** What was seen of a guest while its disks were taken. */
export type Witness =
  /** No QEMU ran. `closed`: its disks are as a guest left them that had shut down. */
  | { readonly guest: 'off'; readonly closed: boolean }
  | { readonly guest: 'suspended' }
  /** It ran, and stood still while its disks and its memory were taken. */
  | { readonly guest: 'held'; readonly disks: number; readonly stoodStillMs: number }
  /** It ran, or stood still. */
  | { readonly guest: 'up'; readonly disks: number; readonly freeze: FreezeWitness };

export type FreezeWitness =
  /** It was frozen for this, and thawed afterwards; null: it did not say so. */
  | { readonly by: 'us'; readonly frozen: number; readonly thawed: number | null; readonly inTime: boolean }
  /** Somebody had frozen it before; `held`: and nobody had thawed it afterwards. */
  | { readonly by: 'user'; readonly held: boolean }
  | { readonly by: 'nobody'; readonly why: string };

export interface Conclusion {
  readonly consistency: Consistency;
  readonly indications: readonly string[];
}

/** What can be relied on, and why. Pure; never more than was seen. */
export function conclude(witness: Witness): Conclusion {
  switch (witness.guest) {
    case 'off':
      return witness.closed
        ? say('filesystem', 'it did not run, and its guest had shut down')
        : say('crash', 'it did not run, and it is not known that its guest had shut down');
    case 'suspended':
      return say(
        'crash',
        'it was suspended: what its guest had not written yet is in its memory, and not in this',
      );
    case 'held':
      return say(
        'exact',
        taken(witness.disks),
        `its memory was written while its guest stood still, for ${witness.stoodStillMs} ms`,
        'its file systems were not frozen: its disks without the memory are as after a crash',
      );
    case 'up': {
      const { consistency, indications } = frozenConclusion(witness.freeze);
      return say(consistency, taken(witness.disks), ...indications);
    }
  }
}

const taken = (disks: number): string =>
  disks === 1 ? 'QEMU took its disk between two writes' : `QEMU took its ${disks} disks in one transaction`;

function frozenConclusion(freeze: FreezeWitness): Conclusion {
  switch (freeze.by) {
    case 'nobody':
      return say('crash', freeze.why);
    case 'user':
      return freeze.held
        ? say('application', 'its file systems had been frozen before, and still were afterwards')
        : say('crash', 'its file systems had been frozen before, and were thawed meanwhile');
    case 'us': {
      const froze = `the guest agent froze ${systems(freeze.frozen)}`;
      if (freeze.frozen === 0) return say('crash', `${froze}, so what it wrote was not held`);
      if (freeze.thawed === null)
        return say('crash', froze, 'that they were frozen until then was not confirmed');
      const thawed = `and thawed ${systems(freeze.thawed)} afterwards`;
      if (!freeze.inTime)
        return say('crash', `${froze} ${thawed}`, 'it took longer than they were to be frozen');
      // One that the guest thawed by itself is not thawed again.
      return freeze.thawed < freeze.frozen
        ? say('crash', `${froze} ${thawed}: some were thawed before`)
        : say('application', `${froze} ${thawed}`);
    }
  }
}

const say = (consistency: Consistency, ...indications: readonly string[]): Conclusion => ({
  consistency,
  indications,
});

const systems = (count: number): string => (count === 1 ? '1 file system' : `${count} file systems`);
