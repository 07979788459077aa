import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { run } from '@berth/linux';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { LibvirtClient, type LibvirtClientOptions } from './client.js';
import { LibvirtError } from './errors.js';
import { FakeLibvirtd } from './fake-server.js';
import { LifecycleEvent, Remote } from './protocol.js';

const web = { name: 'web', uuid: '6f1d2f7e-2a0b-4c57-9df5-7b7d4a2a1c11' };
let dir: string;
let daemon: FakeLibvirtd;
let client: LibvirtClient;

function connectWith(options: Partial<LibvirtClientOptions>): LibvirtClient {
  client.close();
  client = new LibvirtClient({
    socketPath: daemon.socketPath,
    backoffMs: { first: 5, longest: 20 },
    ...options,
  });
  return client;
}

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'berth-rpc-'));
  daemon = new FakeLibvirtd(join(dir, 'sock'));
  await daemon.listen();
  client = new LibvirtClient({ socketPath: daemon.socketPath });
});
afterEach(async () => {
  client.close();
  await daemon.close();
  rmSync(dir, { recursive: true });
});

describe('the libvirt client', () => {
  it('defines, starts, finds and removes a domain, and hears of it', async () => {
    const heard: number[] = [];
    client.on('lifecycle', (event) => heard.push(event.event));
    const ref = await client.define(`<domain><name>web</name><uuid>${web.uuid}</uuid></domain>`);
    const running = await client.create(ref);
    expect(running).toEqual({ ...web, id: 1 });
    expect(await client.lookupByName('web')).toEqual(running);
    expect(await client.lookupByUuid(web.uuid)).toEqual(running);
    await client.destroy(running);
    expect(await client.state(ref)).toEqual({ state: 5, reason: 2 });
    expect(heard).toEqual([
      LifecycleEvent.resumed,
      LifecycleEvent.started,
      LifecycleEvent.shutdown,
      LifecycleEvent.stopped,
    ]);
    await client.undefine(ref);
    expect(await client.list()).toEqual([]);
    expect(await client.lookupByName('web')).toBeNull();
  });

  it("carries the daemon's error with code and text", async () => {
    const refused = client.destroy(daemon.add(web));
    await expect(refused).rejects.toBeInstanceOf(LibvirtError);
    await expect(refused).rejects.toMatchObject({ code: 55, domain: 10, level: 2, isInvalidOperation: true });
  });

  it('gives up a call at its time limit or when it is aborted, and stays usable', async () => {
    daemon.mute.add(Remote.capabilities);
    await expect(client.capabilities({ timeoutMs: 20 })).rejects.toMatchObject({ fault: 'timeout' });
    const abort = new AbortController();
    const call = client.capabilities({ signal: abort.signal });
    abort.abort();
    await expect(call).rejects.toMatchObject({ fault: 'aborted' });
    expect(await client.libVersion()).toBe('9.0.0');
  });

  it('has at most four long operations pending, and short calls pass them by', async () => {
    const ref = daemon.add(web);
    await client.connect();
    daemon.mute.add(Remote.create);
    const abort = new AbortController();
    const starts = Array.from({ length: 6 }, () =>
      client.create(ref, { signal: abort.signal }).catch(() => 'gone'),
    );
    expect((await client.list()).length).toBe(1);
    expect(daemon.calls.filter((procedure) => procedure === Remote.create).length).toBe(4);
    abort.abort();
    expect(await Promise.all(starts)).toEqual(Array(6).fill('gone'));
    daemon.mute.clear();
    expect((await client.create(ref)).id).toBe(1);
  });

  it('answers pings, and drops a daemon that answers none', async () => {
    await client.connect();
    daemon.ping();
    await client.list();
    expect(daemon.pongs).toBeGreaterThan(0);
    const impatient = connectWith({ keepaliveMs: 10 });
    await impatient.connect();
    const down = once(impatient, 'down');
    daemon.answerPings = false;
    const [error] = await down;
    expect(error).toMatchObject({ fault: 'timeout' });
  });

  it('comes back after a loss and says that events may have been missed', async () => {
    const steady = connectWith({});
    await steady.connect();
    const down = once(steady, 'down');
    const resync = once(steady, 'resync');
    await daemon.close();
    await down;
    await expect(steady.list()).rejects.toMatchObject({ fault: 'unreachable' });
    await daemon.listen();
    await resync;
    expect(await steady.list()).toEqual([]);
  });

  it('drops a daemon that breaks the protocol', async () => {
    await client.connect();
    const down = once(client, 'down');
    daemon.sendRaw(Buffer.alloc(64, 0xff));
    const [error] = await down;
    expect(error).toMatchObject({ fault: 'protocol' });
  });
});

describe("libvirt's own client as the judge of the fake daemon", () => {
  const virsh = async (...args: string[]): Promise<string> =>
    (await run('virsh', ['-c', `qemu+unix:///system?socket=${daemon.socketPath}`, ...args])).stdout.trim();

  it('lists, shows, starts and destroys what we added', async () => {
    daemon.add({ ...web, xml: '<domain><name>web</name><title>ours</title></domain>' });
    expect(await virsh('list', '--all', '--name')).toBe('web');
    expect(await virsh('dumpxml', 'web')).toContain('<title>ours</title>');
    expect(await virsh('domuuid', 'web')).toBe(web.uuid);
    expect(await virsh('start', 'web')).toContain('started');
    expect(await virsh('domstate', 'web')).toBe('running');
    expect(await virsh('list', '--name')).toBe('web');
    expect(await virsh('destroy', 'web')).toContain('destroyed');
    await expect(virsh('destroy', 'web')).rejects.toThrow('domain is not running');
    const { uuid } = web;
    expect(await virsh('domname', uuid)).toBe('web');
  });
});
