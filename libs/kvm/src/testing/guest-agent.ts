import { Duplex, PassThrough } from 'node:stream';

/** The guest's end of an agent's channel: what it is sent, and what it answers, as bytes. */
export class TestGuest {
  /** Whole lines that came, without sentinels. */
  readonly heard: string[] = [];
  readonly stream: Duplex;
  readonly #out = new PassThrough();
  #rest = '';

  /** @param answer what is said to a line; null for nothing */
  constructor(private readonly answer: (line: { execute: string; arguments?: never }) => unknown) {
    const input = new PassThrough();
    this.stream = Duplex.from({ readable: this.#out, writable: input });
    input.on('data', (chunk: Buffer) => this.#hear(chunk));
  }

  say(bytes: Buffer | string): void {
    this.#out.write(bytes);
  }

  /** An agent that synchronises as it should, and answers the rest by the table. */
  static honest(table: Readonly<Record<string, unknown>>): TestGuest {
    return new TestGuest(({ execute, arguments: args }) => {
      if (execute === 'guest-sync-delimited') return synced((args as unknown as { id: number }).id);
      const value = table[execute];
      if (value === null) return null;
      if (typeof value === 'function') return { return: (value as (a: unknown) => unknown)(args) };
      return value === undefined ? refusal('CommandNotFound') : { return: value };
    });
  }

  #hear(chunk: Buffer): void {
    this.#rest += chunk.toString('latin1').replaceAll('\xff', '');
    const lines = this.#rest.split('\n');
    this.#rest = lines.pop() ?? '';
    for (const line of lines) {
      this.heard.push(line);
      const said = this.answer(JSON.parse(line) as never);
      if (Buffer.isBuffer(said)) this.say(said);
      else if (said !== null) this.say(`${JSON.stringify(said)}\n`);
    }
  }
}

/** The answer to guest-sync-delimited. */
export const synced = (id: number): Buffer => Buffer.from(`\xff{"return": ${id}}\n`, 'latin1');

export const refusal = (desc: string): object => ({ error: { class: 'GenericError', desc } });
