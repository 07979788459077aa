import type { AddressInfo } from 'node:net';
import type supertest from 'supertest';
import type { Api } from './api.js';

/** What a signed-in page sends: its cookie, and on mutations its origin and the CSRF value. */
export class Browser {
  private constructor(
    private readonly api: Api,
    readonly cookie: string,
    readonly csrf: string,
    readonly origin: string,
  ) {}

  /** Signs in as a role of {@link Api.tokens}, or with whatever else may be pasted. */
  static async signIn(api: Api, as: string, scheme = 'http'): Promise<Browser> {
    const port = (api.app.getHttpServer().address() as AddressInfo).port;
    const origin = `${scheme}://127.0.0.1:${port}`;
    const { body, headers } = await api.http
      .post('/v1/session')
      .set('host', `127.0.0.1:${port}`)
      .set('origin', origin)
      .send({ secret: api.tokens.get(as) ?? as })
      .expect(201);
    const cookie = String(headers['set-cookie']?.[0]).split(';')[0] as string;
    return new Browser(api, cookie, body.csrf as string, origin);
  }

  call(
    method: 'get' | 'post' | 'put' | 'patch' | 'delete',
    path: string,
    change: Record<string, string> = {},
  ): supertest.Test {
    const headers: Record<string, string> =
      method === 'get' ? {} : { origin: this.origin, 'x-berth-csrf': this.csrf };
    const host = new URL(this.origin).host;
    return this.api.http[method](path).set({ cookie: this.cookie, host, ...headers, ...change });
  }
}
