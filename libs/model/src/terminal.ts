import { z } from 'zod';
import { Head } from './displays.js';
import { Problem } from './errors.js';
import { ExitInfo, ProcessSpec } from './instance.js';

/*
 * Terminals: the serial console and the display of a virtual machine, the first process of a container (attach), and programs started in a running container or, by the
 * agent in its guest, in a running virtual machine (exec). A ticket is asked for with a POST and spent on
 * `GET /v1/console?ticket=…`, upgraded to a WebSocket (RFC 6455) that carries
 *
 *   binary messages   one byte that names the channel, then bytes as they are: see `terminalChannels`
 *   text messages     JSON: `TerminalOrder` and `TerminalFlow` from the client, `TerminalNotice` from the API
 *
 * and of a display binary messages alone, which are RFB (RFC 6143) as it is: what clients of VNC over WebSocket speak.
 */

/** Most of the serial log that a console begins with, bytes. */
export const scrollbackMaxBytes = 1024 * 1024;

export const TerminalSize = z
  .strictObject({ columns: z.int().min(1).max(1000), rows: z.int().min(1).max(1000) })
  .meta({ id: 'TerminalSize' });
export type TerminalSize = z.infer<typeof TerminalSize>;

export const ConsoleOpen = z
  .strictObject({
    readOnly: z.boolean().default(false).describe('What is typed is refused; several may write otherwise'),
    scrollbackBytes: z
      .int()
      .min(0)
      .max(scrollbackMaxBytes)
      .default(64 * 1024)
      .describe('How much of the serial log comes first'),
  })
  .meta({ id: 'ConsoleOpen' });
export type ConsoleOpen = z.infer<typeof ConsoleOpen>;

export const DisplayOpen = z
  .strictObject({
    head: Head.optional().describe('Which of its screens, counted from 0, the first; 0 when absent'),
  })
  .meta({ id: 'DisplayOpen' });
export type DisplayOpen = z.infer<typeof DisplayOpen>;

export const AttachOpen = z
  .strictObject({
    readOnly: z
      .boolean()
      .default(false)
      .describe('What is typed is refused; needed where its process has neither `stdin` nor `tty`'),
    scrollbackBytes: z
      .int()
      .min(0)
      .max(scrollbackMaxBytes)
      .default(64 * 1024)
      .describe(
        'How much of what it printed comes first, of which the log keeps times and streams: a little less is shown',
      ),
    size: TerminalSize.optional().describe('Of its terminal, where it has one; as it is when absent'),
  })
  .meta({ id: 'AttachOpen' });
export type AttachOpen = z.infer<typeof AttachOpen>;

/** Facet of hosts whose containers can be attached to. */
export const attachFacet = 'attach';

const { env, user, workdir } = ProcessSpec.shape;
export const ExecOpen = z
  .strictObject({
    command: z
      .array(z.string().max(32_768))
      .min(1)
      .max(256)
      .refine((c) => c[0] !== '', 'must begin with a program')
      .describe('Program and arguments; no shell is put in between'),
    tty: z.boolean().default(false).describe('With a terminal; its output is one stream then. Not in VMs'),
    size: TerminalSize.optional().describe('Of the terminal at its beginning; 80 by 24 when absent'),
    env: env.describe("Added to the container's own; in a VM the whole environment, with a PATH"),
    user: user.describe("The container's own when absent. Not in VMs"),
    workdir: workdir.describe("The container's own when absent. Not in VMs"),
  })
  .meta({ id: 'ExecOpen' });
export type ExecOpen = z.infer<typeof ExecOpen>;

/** What a ticket opens. */
export const TerminalOpen = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('console'), ...ConsoleOpen.shape }),
  z.strictObject({ kind: z.literal('exec'), ...ExecOpen.shape }),
  z.strictObject({ kind: z.literal('display'), ...DisplayOpen.shape }),
  z.strictObject({ kind: z.literal('attach'), ...AttachOpen.shape }),
]);
export type TerminalOpen = z.infer<typeof TerminalOpen>;

/** How a terminal ended by itself. */
export const TerminalEnd = z.discriminatedUnion('reason', [
  /** The process of an exec ended: its exit code, 128 + n after signal n. */
  z.strictObject({ reason: z.literal('exited'), code: z.int() }),
  /** The instance is no longer running. */
  z.strictObject({ reason: z.literal('workloadEnded'), exit: ExitInfo.nullable() }),
  /** It could not be begun or kept up. */
  z.strictObject({ reason: z.literal('failed'), message: z.string() }),
]);
export type TerminalEnd = z.infer<typeof TerminalEnd>;

/** Text messages of the client for its host. */
export const TerminalOrder = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('resize'), ...TerminalSize.shape }),
  /** Nothing more will be typed: the process reads the end of its input. No effect with a terminal. */
  z.strictObject({ type: z.literal('endInput') }),
]);
export type TerminalOrder = z.infer<typeof TerminalOrder>;

/**
 * Text messages of a client that cannot stop reading its WebSocket, as browsers: after `hold` the API sends no more output,
 * which holds the program up, until `goOn`. They go no further than the API.
 */
export const TerminalFlow = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('hold') }),
  z.strictObject({ type: z.literal('goOn') }),
]);
export type TerminalFlow = z.infer<typeof TerminalFlow>;

/** Text messages of the API. `exit` and `problem` are the last one before the close. */
export const TerminalNotice = z.discriminatedUnion('type', [
  /** The host has opened it. */
  z.strictObject({ type: z.literal('opened') }),
  z.strictObject({ type: z.literal('exit'), end: TerminalEnd }),
  z.strictObject({ type: z.literal('problem'), problem: Problem }),
]);
export type TerminalNotice = z.infer<typeof TerminalNotice>;
