import type { GuestInfo } from '@berth/model';
import { z } from 'zod';
import { asked } from './ask.js';
import { QgaError, QgaTransportError, type QgaOptions, type QgaTransport } from './transport.js';

/*
 * What is asked of a guest's agent, with the shape that each answer must have (QEMU Guest Agent protocol reference, 7.2).
 * Members that nobody here needs are dropped unread.
 */

const text = z.string().max(256);
const OsInfo = z.object({
  id: text.optional(),
  'pretty-name': text.optional(),
  name: text.optional(),
  'version-id': text.optional(),
  version: text.optional(),
  'kernel-release': text.optional(),
  machine: text.optional(),
});
const Interfaces = z
  .array(
    z.object({
      name: text,
      'hardware-address': z.string().max(32).optional(),
      'ip-addresses': z
        .array(
          z.object({
            'ip-address': z.string().max(64),
            'ip-address-type': z.enum(['ipv4', 'ipv6']),
            prefix: z.int().min(0).max(128),
          }),
        )
        .max(64)
        .optional(),
    }),
  )
  .max(64);

const Vcpus = z.array(z.object({ 'logical-id': z.int().min(0), online: z.boolean() })).max(4096);

const base64 = z.base64();
const ExecStatus = z.object({
  exited: z.boolean(),
  exitcode: z.int().optional(),
  signal: z.int().optional(),
  'out-data': base64.optional(),
  'err-data': base64.optional(),
  'out-truncated': z.boolean().optional(),
  'err-truncated': z.boolean().optional(),
});

/** Where a program that was started in a guest has got to. */
export interface GuestExecStatus {
  /** Null while it runs. 128 + n after signal n. */
  readonly code: number | null;
  readonly output: Buffer;
  readonly errorOutput: Buffer;
  /** Its agent kept only a part of what it printed. */
  readonly truncated: boolean;
}

export interface GuestExec {
  readonly path: string;
  readonly args: readonly string[];
  /** `NAME=value`, the whole environment; null for the agent's own. */
  readonly env: readonly string[] | null;
  readonly input: Buffer;
}

/** Asks the agent that a transport leads to. @throws QgaError, QgaTransportError */
export class QgaAgent {
  constructor(private readonly transport: QgaTransport) {}

  async ping(options?: QgaOptions): Promise<void> {
    await this.transport.send('guest-ping', undefined, options);
  }

  /** What it tells of the guest; an agent need not know every question. */
  async info(options?: QgaOptions): Promise<GuestInfo> {
    const ask = <T>(command: string, schema: z.ZodType<T>): Promise<T> =>
      this.#ask(command, schema, undefined, options);
    const { version } = await ask('guest-info', z.object({ version: text }));
    const name = await orNull(ask('guest-get-host-name', z.object({ 'host-name': text })));
    const os = await orNull(ask('guest-get-osinfo', OsInfo));
    const interfaces = (await orNull(ask('guest-network-get-interfaces', Interfaces))) ?? [];
    return {
      agentVersion: version,
      hostname: name?.['host-name'] ?? null,
      os: os && {
        id: os.id ?? null,
        name: os['pretty-name'] ?? os.name ?? null,
        version: os['version-id'] ?? os.version ?? null,
        kernel: os['kernel-release'] ?? null,
        machine: os.machine ?? null,
      },
      interfaces: interfaces.map((one) => ({
        name: one.name,
        mac: one['hardware-address'] ?? null,
        addresses: (one['ip-addresses'] ?? []).map((a) => ({
          family: a['ip-address-type'],
          address: a['ip-address'],
          prefixLength: a.prefix,
        })),
      })),
    };
  }

  /** Starts a program; the pid is the guest's. */
  async exec({ path, args, env, input }: GuestExec, options?: QgaOptions): Promise<number> {
    const { pid } = await this.#ask(
      'guest-exec',
      z.object({ pid: z.int() }),
      {
        path,
        arg: args,
        ...(env === null ? {} : { env }),
        ...(input.length === 0 ? {} : { 'input-data': input.toString('base64') }),
        'capture-output': true,
      },
      options,
    );
    return pid;
  }

  /** Once it has told the end, the agent knows the program no more. */
  async execStatus(pid: number, options?: QgaOptions): Promise<GuestExecStatus> {
    const seen = await this.#ask('guest-exec-status', ExecStatus, { pid }, options);
    const code = seen.signal === undefined ? (seen.exitcode ?? 0) : 128 + seen.signal;
    return {
      code: seen.exited ? code : null,
      output: Buffer.from(seen['out-data'] ?? '', 'base64'),
      errorOutput: Buffer.from(seen['err-data'] ?? '', 'base64'),
      truncated: seen['out-truncated'] === true || seen['err-truncated'] === true,
    };
  }

  /** Has the guest use all processors that it sees. Says how many it uses then. */
  async bringOnline(options?: QgaOptions): Promise<number> {
    const all = await this.#ask('guest-get-vcpus', Vcpus, undefined, options);
    const vcpus = all
      .filter(({ online }) => !online)
      .map((vcpu) => ({ 'logical-id': vcpu['logical-id'], online: true }));
    const used = all.length - vcpus.length;
    // It answers how many of them it took, from the first on.
    return vcpus.length === 0
      ? used
      : used + (await this.#ask('guest-set-vcpus', z.int().min(0), { vcpus }, options));
  }

  /** Asks the system to shut down. An agent that does so gives no answer, so that its silence is none either. */
  async shutdown(options?: QgaOptions): Promise<void> {
    try {
      await this.transport.send('guest-shutdown', { mode: 'powerdown' }, options);
    } catch (error) {
      if (!(error instanceof QgaTransportError && error.fault === 'timeout')) throw error;
    }
  }

  /** Number of file systems that write nothing more, until `thaw`. The agent does little else meanwhile. */
  freeze(options?: QgaOptions): Promise<number> {
    return this.#ask('guest-fsfreeze-freeze', z.int().min(0), undefined, options);
  }

  /** Number of file systems that were thawed; none is no error. */
  thaw(options?: QgaOptions): Promise<number> {
    return this.#ask('guest-fsfreeze-thaw', z.int().min(0), undefined, options);
  }

  #ask<T>(command: string, schema: z.ZodType<T>, args?: object, options?: QgaOptions): Promise<T> {
    return asked(this.transport, command, schema, args, options);
  }
}

/** Null where the agent refuses the question. */
async function orNull<T>(question: Promise<T>): Promise<T | null> {
  try {
    return await question;
  } catch (error) {
    if (error instanceof QgaError) return null;
    throw error;
  }
}
