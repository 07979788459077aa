import { answer, ProblemError, type Schemas } from '@berth/client';
import { accept, type WaitOptions } from './operation.js';
import { exitCodes, Failure } from './failure.js';
import { ofInstance, type Session } from './session.js';

type Spec = Schemas['Instance']['spec'];

/** An instance moves with every report of its host, so a version that was read may be old at once. */
const attempts = 8;

/** What a user wants of an instance. */
export interface Wanted {
  readonly spec: Spec;
  /** Kept as they are when absent. */
  readonly labels?: Record<string, string>;
}

/**
 * Sends what is wanted of an instance. Where it moved meanwhile the change is made anew from what it is then, so that nothing of
 * others is undone. @throws ProblemError
 */
export async function wantedPut(
  s: Session,
  name: string,
  change: (now: Schemas['Instance']) => Wanted,
): Promise<Schemas['Accepted']> {
  for (let left = attempts; ; left -= 1) {
    try {
      return (await put(s, name, change, {})) as Schemas['Accepted'];
    } catch (error) {
      if (left === 0 || !(error instanceof ProblemError) || error.code !== 'preconditionFailed') throw error;
    }
  }
}

/** What sending it would do; nothing is changed. @throws ProblemError as `wantedPut` would */
export const wantedPreview = async (
  s: Session,
  name: string,
  change: (now: Schemas['Instance']) => Wanted,
): Promise<Schemas['ChangePreview']> =>
  (await put(s, name, change, { dryRun: true })) as Schemas['ChangePreview'];

async function put(
  s: Session,
  name: string,
  change: (now: Schemas['Instance']) => Wanted,
  query: { dryRun?: true },
): Promise<Schemas['Accepted'] | Schemas['ChangePreview']> {
  const at = '/v1/projects/{project}/instances/{name}';
  const now = await answer(s.api.rest.GET(at, { params: ofInstance(s, name) }));
  // A dry run changes nothing, so it may be of a version that is old by then.
  const header = query.dryRun === undefined ? { 'if-match': `"${now.resourceVersion}"` } : {};
  return answer(s.api.rest.PUT(at, { params: { ...ofInstance(s, name), header, query }, body: change(now) }));
}

/** Changes a spec by what it is now, and waits as `accept` does. @throws as `wantedPut` does */
export const specChange = (
  s: Session,
  name: string,
  options: WaitOptions,
  change: (spec: Spec) => Spec,
): Promise<void> => accept(s, options, [() => wantedPut(s, name, ({ spec }) => ({ spec: change(spec) }))]);

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
