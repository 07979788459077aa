import { z } from 'zod';

/** Of the processes of an instance at most so many are listed, the first by their pids. */
export const processesMost = 1000;

export const InstanceProcess = z
  .strictObject({
    pid: z.int().min(0).describe('As it is seen inside: of a container and a microVM its first process is 1'),
    parent: z.int().min(0).describe('0 where that is outside'),
    uid: z.int().min(0).describe('Inside'),
    user: z.string().max(64).describe('Name of the user inside; the number where it has none that is known'),
    state: z
      .string()
      .length(1)
      .describe('R runs, S sleeps, D waits for a disk, T is stopped, Z has ended, I is idle'),
    threads: z.int().min(0),
    cpuMicros: z.int().min(0).describe('Processor time that it has used'),
    memoryBytes: z.int().min(0).describe('Resident, also what it shares with others'),
    ageSeconds: z.int().min(0).describe('Since its start'),
    command: z
      .string()
      .max(1024)
      .describe('Its arguments, joined by spaces, cut at 1024 characters; `[name]` where it has none'),
  })
  .meta({ id: 'InstanceProcess' });
export type InstanceProcess = z.infer<typeof InstanceProcess>;

/** What runs in an instance at one moment. Names and commands are the guest's own words. */
export const InstanceProcesses = z
  .strictObject({
    items: z.array(InstanceProcess).max(processesMost),
    total: z.int().min(0).describe('How many there are, also those that are not listed'),
  })
  .meta({ id: 'InstanceProcesses' });
export type InstanceProcesses = z.infer<typeof InstanceProcesses>;
