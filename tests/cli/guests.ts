import type { Instance, TerminalOpen, TerminalOrder } from '@berth/model';
import { EchoTerminal, EchoTerminals } from '../http/echo-terminals.js';

/** Programs of a container and the console of a machine, as far as a command line can tell. */
export class Guests extends EchoTerminals {
  override open(instance: Instance, open: TerminalOpen, signal: AbortSignal): Promise<Guest> {
    if (this.refusal !== null) return Promise.reject(this.refusal);
    const guest = new Guest(instance, open, signal);
    this.opened.push(guest);
    guest.begin();
    return Promise.resolve(guest);
  }
}

class Guest extends EchoTerminal {
  private line = '';

  begin(): void {
    const { open } = this;
    if (open.kind === 'console') return void this.print('\u001b[?2004hlogin: ');
    if (open.kind === 'display') return;
    if (open.kind === 'attach') return void this.print(`begun ${open.size?.columns ?? 'without a size'}\n`);
    const [program = '', ...args] = open.command;
    const start: Readonly<Record<string, () => void>> = {
      echo: () => this.print(`${args.join(' ')}\n`).exit(0),
      env: () =>
        this.print(
          Object.entries(open.env ?? {})
            .map(([k, v]) => `${k}=${v}\n`)
            .join(''),
        ).exit(0),
      both: () => {
        this.print('out\n').say({ channel: 'errorOutput', bytes: Buffer.from('err\n') });
        this.exit(3);
      },
      who: () => this.print(`${open.user ?? '-'} ${open.workdir ?? '-'} ${open.tty}\n`).exit(0),
      much: () => {
        for (let i = 0; i < 512; i++) this.print('0123456789abcdef'.repeat(512));
        this.exit(0);
      },
      sh: () => this.print(`${open.size?.columns}x${open.size?.rows}$ `),
      uname: () => this.print('6.1.0\n').exit(0),
      cat: () => undefined,
      sleep: () => this.print('asleep\n'),
    };
    const found = start[program];
    if (found === undefined) this.say({ end: { reason: 'failed', message: `${program}: not found` } });
    else found();
  }

  override async type(bytes: Uint8Array): Promise<void> {
    const { open } = this;
    await super.type(bytes);
    this.line += Buffer.from(bytes).toString();
    if (open.kind === 'attach' && this.line.endsWith('fail\n'))
      this.say({
        end: { reason: 'workloadEnded', exit: { reason: 'exited', code: 4, at: new Date().toISOString() } },
      });
    if (open.kind === 'console' && this.line.endsWith('poweroff\r'))
      this.say({ end: { reason: 'workloadEnded', exit: null } });
    const code = /exit (\d+)\r$/.exec(this.line)?.[1];
    if (open.kind === 'exec' && open.tty && code !== undefined) this.exit(Number(code));
  }

  override async order(order: TerminalOrder): Promise<void> {
    await super.order(order);
    if (order.type === 'resize') this.print(`[${order.columns}x${order.rows}]`);
    else if (this.open.kind === 'exec' && this.open.command[0] === 'cat') this.exit(0);
  }

  private print(text: string): this {
    this.say({ channel: 'output', bytes: Buffer.from(text) });
    return this;
  }
  private exit(code: number): void {
    this.say({ end: { reason: 'exited', code } });
  }
}
