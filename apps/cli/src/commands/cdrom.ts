import { Option } from 'commander';
import type { Schemas } from '@berth/client';
import { exitCodes, Failure } from '../failure.js';
import { waiting, type WaitOptions } from '../operation.js';
import { examples, wholeNumber, type Commands, type Session } from '../session.js';
import { specChange } from '../spec-change.js';

type Drive = NonNullable<Schemas['Instance']['spec']['cdroms']>[number];

interface AddOptions extends WaitOptions, Pick<Drive, 'bus' | 'bootFirst'> {}

interface MediumOptions extends WaitOptions {
  readonly drive: number;
  readonly force: boolean;
}

const driveOption = [
  '--drive <number>',
  'which of its drives, from 0',
  (t: string) => wholeNumber('--drive', t),
  0,
] as const;
const forceOption = [
  '--force',
  'take a medium also out of a drive that the guest has locked, and do not ask it',
  false,
] as const;

export const cdromCommands: Commands = (program, session) => {
  const cdrom = program.command('cdrom').description('CD-ROM drives of a VM, and what is in them');
  examples(cdrom, 'berth cdrom insert db drivers\nberth cdrom add --help');
  const add = waiting(cdrom.command('add <instance> [image]'))
    .description(
      'give a VM another drive, empty or with an image of kind iso in it; it comes with the next start',
    )
    .addOption(
      new Option(
        '--bus <bus>',
        'sata: known to every installer; scsi: also to kernels made for clouds, which lack SATA',
      )
        .choices(['sata', 'scsi'] as const)
        .default('sata'),
    )
    .option('--boot-first', 'boot from what is in it before the root disk, instead of after it', false)
    .action(async (name: string, image: string | undefined, { bus, bootFirst, ...options }: AddOptions) => {
      const drive = { bus, bootFirst, force: false, ...(image === undefined ? {} : { image }) };
      await drivesChange(session(), name, options, (drives) => [...drives, drive]);
    });
  examples(add, 'berth cdrom add db installer\nberth cdrom add db --bus scsi');
  const remove = waiting(cdrom.command('rm <instance> <drive>'))
    .description('take a drive from a VM, by its number; it goes at the next start')
    .action(async (name: string, text: string, options: WaitOptions) => {
      const number = wholeNumber('drive', text);
      await drivesChange(session(), name, options, (drives) => {
        requireDrive(name, drives, number);
        return drives.filter((_, i) => i !== number);
      });
    });
  examples(remove, 'berth cdrom rm db 1');
  const insert = waiting(cdrom.command('insert <instance> <image>'))
    .description(
      'put an image of kind iso into a drive, in the place of what is in it; also while the VM runs',
    )
    .option(...driveOption)
    .option(...forceOption)
    .action(async (name: string, image: string, { drive, force, ...options }: MediumOptions) => {
      await drivesChange(session(), name, options, (drives) => {
        requireDrive(name, drives, drive);
        return drives.map((one, i) => (i === drive ? { ...one, image, force } : one));
      });
    });
  examples(insert, 'berth cdrom insert db drivers\nberth cdrom insert db drivers --drive 1 --force');
  const eject = waiting(cdrom.command('eject <instance>'))
    .description('empty a drive; also while the VM runs')
    .option(...driveOption)
    .option(...forceOption)
    .action(async (name: string, { drive, force, ...options }: MediumOptions) => {
      await drivesChange(session(), name, options, (drives) => {
        requireDrive(name, drives, drive);
        return drives.map(({ image, ...one }, i) =>
          i === drive ? { ...one, force } : { ...one, ...(image === undefined ? {} : { image }) },
        );
      });
    });
  examples(eject, 'berth cdrom eject db\nberth cdrom eject db --force');
};

const drivesChange = (
  s: Session,
  name: string,
  options: WaitOptions,
  change: (drives: Drive[]) => Drive[],
): Promise<void> => specChange(s, name, options, (spec) => ({ ...spec, cdroms: change(spec.cdroms ?? []) }));

/** @throws Failure where the instance has no such drive */
function requireDrive(name: string, drives: readonly Drive[], drive: number): void {
  if (drives[drive] !== undefined) return;
  const has = drives.length === 0 ? 'none; give it one: berth cdrom add' : `${drives.length}, counted from 0`;
  throw new Failure(`${name} has no drive ${drive}\n  -> It has ${has}`, exitCodes.notFound);
}
