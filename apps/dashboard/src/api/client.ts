import { BerthClient, type EventPage, type Schemas } from '@berth/client';

export type Instance = Schemas['Instance'];
export type Host = Schemas['Host'];
export type Network = Schemas['Network'];
export type Image = Schemas['Image'];
export type Operation = Schemas['Operation'];
export type Snapshot = Schemas['Snapshot'];
export type Volume = Schemas['Volume'];
export type Registry = Schemas['RegistryCredential'];
export type Secret = Schemas['Secret'];
export type Session = Schemas['Session'];
export type Event = EventPage['items'][number];
export type Decision = Schemas['Decision'];
export type Verdict = NonNullable<Decision['verdicts']>[number];

let csrf: string | null = null;

/** The CSRF value of this session; null while nobody is signed in. */
export const csrfValue = (): string | null => csrf;
export const csrfSet = (value: string | null): void => void (csrf = value);

/** The same REST API that everybody uses; the session's cookie goes by itself. */
export const api = new BerthClient({ baseUrl: window.location.origin, csrf: csrfValue });
