import { createServer, request as httpRequest, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';

/** What becomes of a request: it reaches the registry, whole or by half of its body, or is cut before, or nobody answers. */
type Fate = 'pass' | 'half' | 'cut' | 'hold';

/** Stands before a real registry: remembers what reached it, and spoils what it is told to. */
export class RegistryProxy {
  before: (request: IncomingMessage) => Fate = () => 'pass';
  /** Requests that reached the registry whole. */
  readonly passed: { readonly method: string; readonly path: string; readonly bytes: number }[] = [];

  private constructor(
    private readonly server: Server,
    private readonly registry: string,
  ) {}

  static async start(registry: string): Promise<RegistryProxy> {
    const server = createServer();
    const made = new RegistryProxy(server, registry);
    server.on('request', (request, response) => {
      const fate = made.before(request);
      if (fate === 'cut') return void request.socket.destroy();
      if (fate === 'hold') return;
      const { method = '', url: path = '', headers } = request;
      const bytes = Number(headers['content-length'] ?? 0);
      const [host, port] = made.registry.split(':');
      const onward = httpRequest({ host, port, method, path, headers, agent: false }, (answer) => {
        made.passed.push({ method, path, bytes });
        response.writeHead(answer.statusCode ?? 502, answer.headers);
        answer.pipe(response);
      });
      onward.on('error', () => request.socket.destroy());
      if (fate === 'pass') return void request.pipe(onward);
      let seen = 0;
      request.on('data', (chunk: Buffer) => {
        seen += chunk.length;
        onward.write(chunk, () => {
          if (seen * 2 > bytes) onward.destroy();
        });
      });
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return made;
  }

  get domain(): string {
    return `127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  async stop(): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }
}
