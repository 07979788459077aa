import { stringify } from 'yaml';

/** cloud-init reads YAML 1.1, in which a host called `no` is false, and `12:30` a number: such words are quoted. */
export const yaml = (value: unknown): string =>
  stringify(value, { version: '1.1', blockQuote: false, lineWidth: 0 });
