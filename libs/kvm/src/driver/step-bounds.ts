import { RuntimeError, type StepContext } from '@berth/runtime';
import { LibvirtConnectionError, LibvirtError } from '../libvirt/errors.js';
import { QmpError, QmpTransportError } from '../qmp/commands.js';

/** @throws RuntimeError deadline */
export function guard(ctx: StepContext): void {
  if (ctx.signal.aborted) throw new RuntimeError('deadline', 'the step was given up');
}

export function callBounds(ctx: StepContext): { signal: AbortSignal; timeoutMs: number } {
  return { signal: ctx.signal, timeoutMs: Math.max(ctx.deadline - Date.now(), 1) };
}

/** The domain may be gone or off before we say so: then there is nothing to do. */
export async function unlessGone(call: Promise<unknown>): Promise<void> {
  try {
    await call;
  } catch (error) {
    if (!(error instanceof LibvirtError && (error.isNoDomain || error.isInvalidOperation))) throw error;
  }
}

/** Turns what libvirt and QMP throw into the runtime's errors. */
export async function hostFaults<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    if (cause instanceof LibvirtError)
      throw new RuntimeError('hostFault', `libvirt: ${cause.message}`, { cause });
    if (cause instanceof QmpError) throw new RuntimeError('hostFault', `QEMU: ${cause.message}`, { cause });
    if (!(cause instanceof LibvirtConnectionError || cause instanceof QmpTransportError)) throw cause;
    const late = cause.fault === 'timeout' || cause.fault === 'aborted';
    throw new RuntimeError(late ? 'deadline' : 'hostFault', cause.message, { cause });
  }
}
