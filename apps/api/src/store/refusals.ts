import { BerthError, isTpmLost, tpmLostRemedy } from '@berth/model';

/** Refusals that several writers speak in the same words. */
export const notFound = (kind: string, name: string): BerthError =>
  new BerthError('notFound', `there is no ${kind} "${name}"`);

export const nameTaken = (kind: string, name: string): BerthError =>
  new BerthError('nameTaken', `the name "${name}" belongs to another ${kind}`, {
    remedy: `choose another name, or delete that ${kind} first`,
    errors: [{ path: '/name', code: 'nameTaken', message: 'is taken', remedy: 'choose another name' }],
  });

export const invalidField = (path: string, message: string, remedy: string): BerthError =>
  new BerthError('invalid', `${path.slice(1).replaceAll('/', '.')} ${message}`, {
    errors: [{ path, code: 'invalid', message, remedy }],
  });

/** @throws preconditionFailed when `ifMatch` names another version than the stored one. */
export function matchVersion(ifMatch: number | undefined, stored: number): void {
  if (ifMatch !== undefined && ifMatch !== stored)
    throw new BerthError('preconditionFailed', `the object has resourceVersion ${stored}, not ${ifMatch}`, {
      remedy: 'read it again, and repeat the change on what it is now',
    });
}

/** Of a machine that has lost its TPM QEMU writes no memory, and it does not outlive a reset. @throws stateConflict */
export function refuseTpmLost(
  { name, conditions }: { readonly name: string; readonly conditions: readonly { readonly type: string }[] },
  verb: string,
): void {
  if (isTpmLost(conditions))
    throw new BerthError('stateConflict', `the TPM of instance "${name}" has ended, so there is no ${verb}`, {
      remedy: tpmLostRemedy,
    });
}
