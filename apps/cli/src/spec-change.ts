import { answer, ProblemError, type Schemas } from '@berth/client';
import { accept, type WaitOptions } from './operation.js';
import { exitCodes, Failure } from './failure.js';
import { ofInstance, type Session } from './session.js';

type Spec = Schemas['Instance']['spec'];

/** An instance moves with every report of its host, so a version that was read may be old at once. */
const attempts = 8;

/**
 * Changes a spec by what it is now, and waits as `accept` does. Where it moved meanwhile the change is made anew from what
 * it is then, so that nothing of others is undone.
 */
export async function specChange(
  s: Session,
  name: string,
  options: WaitOptions,
  change: (spec: Spec) => Spec,
): Promise<void> {
  const at = '/v1/projects/{project}/instances/{name}';
  const once = async (left: number): Promise<Schemas['Accepted']> => {
    const { spec, resourceVersion } = await answer(s.api.rest.GET(at, { params: ofInstance(s, name) }));
    const params = { ...ofInstance(s, name), header: { 'if-match': `"${resourceVersion}"` } };
    try {
      return await answer(s.api.rest.PUT(at, { params, body: { spec: change(spec) } }));
    } catch (error) {
      if (left === 0 || !(error instanceof ProblemError) || error.code !== 'preconditionFailed') throw error;
      return once(left - 1);
    }
  };
  await accept(s, options, [() => once(attempts)]);
}

/** The same of its nics. */
export const nicsChange = (
  s: Session,
  name: string,
  options: WaitOptions,
  change: (nics: Spec['nics']) => Spec['nics'],
): Promise<void> => specChange(s, name, options, (spec) => ({ ...spec, nics: change(spec.nics) }));

/** @throws Failure where the instance has no such nic */
export function requireNic(name: string, nics: Spec['nics'], nic: number): void {
  if (nics[nic] === undefined)
    throw new Failure(
      `${name} has no nic ${nic}\n  -> It has ${nics.length}, counted from 0`,
      exitCodes.usage,
    );
}
