import type { Instance, Operation } from '@berth/model';
import type { Connection } from './connection.js';
import { exitCodes, Failure } from './failure.js';

export interface Accepted {
  readonly operation: Operation;
  readonly instance: Instance | null;
}

const settled = ['succeeded', 'failed', 'cancelled', 'superseded'];

/**
 * Waits until an operation has ended. @throws Failure when it failed, or had not ended after `seconds`; the operation
 * goes on then.
 */
export async function operationEnd(api: Connection, begun: Operation, seconds: number): Promise<Operation> {
  const deadline = Date.now() + seconds * 1000;
  let operation = begun;
  while (!settled.includes(operation.state)) {
    const left = Math.ceil((deadline - Date.now()) / 1000);
    if (left <= 0)
      throw new Failure(
        `${operation.kind} of ${operation.target.name} has not ended after ${seconds} s and goes on (operation ${operation.id}).`,
        exitCodes.timeout,
      );
    operation = await api.get<Operation>(`/v1/operations/${operation.id}`, { wait: Math.min(left, 30) });
  }
  if (operation.state === 'failed') {
    const remedy = operation.error?.remedy === undefined ? '' : `\n  -> ${operation.error.remedy}`;
    throw new Failure(
      `${operation.kind} of ${operation.target.name} failed: ${operation.error?.message ?? 'no reason given'}${remedy}`,
    );
  }
  return operation;
}
