/**
 * ok: as it should be · note: something optional is not there, and what that costs · warn: Berth runs, with the stated
 * limit · fail: Berth cannot run here
 */
export type Verdict = 'ok' | 'note' | 'warn' | 'fail';

/** One line of the doctor. */
export interface Check {
  readonly name: string;
  readonly verdict: Verdict;
  readonly found: string;
  /** What to do; empty when nothing is. */
  readonly remedy: string;
}

export const ok = (name: string, found: string): Check => ({ name, verdict: 'ok', found, remedy: '' });

export const bad = (verdict: Exclude<Verdict, 'ok'>, name: string, found: string, remedy: string): Check => ({
  name,
  verdict,
  found,
  remedy,
});

/** A check of something that was tried; `why` is null when it worked, else the reason. */
export const works = (
  name: string,
  why: string | null,
  verdict: Exclude<Verdict, 'ok'>,
  remedy: string,
): Check => (why === null ? ok(name, 'works') : bad(verdict, name, why, remedy));

/** A check of something that is there or not; `cost` says what is lost without it. */
export const present = (
  name: string,
  there: boolean,
  verdict: Exclude<Verdict, 'ok'>,
  cost: string,
  remedy: string,
): Check => (there ? ok(name, 'there') : bad(verdict, name, cost, remedy));
