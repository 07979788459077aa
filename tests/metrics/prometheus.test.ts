import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { randomUUID } from 'node:crypto';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { InstanceId, InstanceUsage, NicId, VolumeId } from '@berth/model';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { defaultHttpConfig } from '../../apps/api/src/http/deps.js';
import { Api } from '../http/api.js';

const exec = promisify(execFile);
const instances = '/v1/projects/alpha/instances';

let api: Api;
let dir: string;
let prometheus: ChildProcess;
let base: string;

/** A host that measured twice, a quarter of a minute apart: half a processor for each instance. */
function measured(ids: readonly InstanceId[], more: Partial<InstanceUsage> = {}): void {
  const now = Date.now();
  const sample = (at: number, cpuMicros: number) => ({
    at,
    host: { cpuMicros, memoryBytes: 2048, diskBytes: 4096 },
    instances: ids.map((instanceId) => ({
      ...{ instanceId, epoch: 1, cpuMicros, memoryBytes: 1024, blockReadBytes: 512, blockWriteBytes: null },
      ...{ receivedBytes: 7, sentBytes: 8 },
      ...more,
    })),
  });
  const samples = [sample(now - 15_000, 10_000_000), sample(now, 17_500_000)];
  api.usage.take(api.host.id, { now, samples, more: false });
}

async function runningInstance(name: string): Promise<InstanceId> {
  const spec = { isolation: 'container', image: 'oci', memoryMiB: 64 };
  const { body } = await api.call('post', instances).send({ name, spec }).expect(202);
  await api.settle();
  return body.instance.id as InstanceId;
}

beforeAll(async () => {
  api = await Api.start();
  dir = await mkdtemp(join(tmpdir(), 'berth-prometheus-'));
  const { port } = api.app.getHttpServer().address() as AddressInfo;
  await writeFile(join(dir, 'token'), api.tokens.get('all:viewer') ?? '');
  // As docs/operations.md shows it.
  await writeFile(
    join(dir, 'prometheus.yml'),
    `scrape_configs:
  - job_name: berth
    scrape_interval: 1s
    honor_labels: true
    authorization: { credentials_file: ${join(dir, 'token')} }
    static_configs: [{ targets: ['127.0.0.1:${port}'] }]
`,
  );
  const own = await freePort();
  base = `http://127.0.0.1:${own}`;
  prometheus = spawn(
    'prometheus',
    [
      `--config.file=${join(dir, 'prometheus.yml')}`,
      `--storage.tsdb.path=${join(dir, 'data')}`,
      `--web.listen-address=127.0.0.1:${own}`,
    ],
    { stdio: 'ignore' },
  );
}, 120_000);
afterAll(async () => {
  const ended = new Promise((resolve) => prometheus.once('exit', resolve));
  prometheus.kill();
  await ended;
  await api.stop();
  await rm(dir, { recursive: true, force: true });
});

async function query(expression: string): Promise<{ metric: Record<string, string>; value: string }[]> {
  const answer = await fetch(`${base}/api/v1/query?query=${encodeURIComponent(expression)}`).catch(
    () => null,
  );
  if (answer === null || !answer.ok) return [];
  const { data } = (await answer.json()) as {
    data: { result: { metric: Record<string, string>; value: [number, string] }[] };
  };
  return data.result.map(({ metric, value }) => ({ metric, value: value[1] }));
}

test('Prometheus scrapes it with a token, and finds what an instance uses under the labels that are promised', async () => {
  measured([await runningInstance('web')]);
  await expect.poll(() => query('up{job="berth"}'), { timeout: 30_000 }).toMatchObject([{ value: '1' }]);
  const found = 'berth_instance_cpu_seconds_total{instance="web"}';
  await expect
    .poll(() => query(found), { timeout: 30_000 })
    .toMatchObject([
      {
        value: '17.5',
        metric: { project: 'alpha', host: 'h1', isolation: 'container', instance: 'web' },
      },
    ]);
  expect(await query('berth_host_memory_used_bytes{host="h1"}')).toMatchObject([{ value: '2048' }]);
  expect(await query('berth_instances{state="running",isolation="container"}')).toMatchObject([
    { value: '1' },
  ]);
  expect(await query('berth_instance_block_written_bytes_total')).toEqual([]);
});

test('disks and nics have lines of their own, by names that their user knows and not by what others have', async () => {
  const id = await runningInstance('disks');
  const { body } = await api.call('get', `${instances}/disks`).expect(200);
  const [nic] = body.status.nics as { id: string; mac: string; network: string }[];
  const stranger = randomUUID();
  const did = { readBytes: 1, writtenBytes: 2, reads: 3, writes: 200, flushes: 5 };
  const took = { readMicros: 6, writeMicros: 1_500_000, flushMicros: 7 };
  const failed = { failedReads: 0, failedWrites: 4, failedFlushes: 0 };
  const through = { receivedBytes: 7, sentBytes: 8, receivedPackets: 9, sentPackets: 10 };
  const lost = { receiveErrors: 0, sendErrors: 0, receiveDrops: 11, sendDrops: 0 };
  measured([id], {
    disks: [
      { volumeId: null, ...did, ...took, ...failed },
      { volumeId: stranger as VolumeId, ...did, ...took },
    ],
    nics: [
      { nicId: nic?.id as NicId, ...through, ...lost },
      { nicId: stranger as NicId, ...through, ...lost },
    ],
  });
  const { text } = await api.call('get', '/metrics').expect(200);
  const lines = (name: string) =>
    text.split('\n').filter((line) => line.startsWith(`berth_instance_${name}{`));
  const own = 'project="alpha",instance="disks",host="h1",isolation="container"';
  const disk = `{${own},volume="disks.root"}`;
  expect(lines('disk_writes_total')).toEqual([`berth_instance_disk_writes_total${disk} 200`]);
  expect(lines('disk_write_time_seconds_total')).toEqual([
    `berth_instance_disk_write_time_seconds_total${disk} 1.5`,
  ]);
  expect(lines('disk_write_errors_total')).toEqual([`berth_instance_disk_write_errors_total${disk} 4`]);
  const link = `{${own},network="${nic?.network}",mac="${nic?.mac}"}`;
  expect(lines('nic_receive_packets_total')).toEqual([`berth_instance_nic_receive_packets_total${link} 9`]);
  expect(lines('nic_receive_drops_total')).toEqual([`berth_instance_nic_receive_drops_total${link} 11`]);
  expect(text).not.toContain(stranger);
  await expect
    .poll(
      () =>
        query(
          'berth_instance_disk_write_time_seconds_total{volume="disks.root"} / berth_instance_disk_writes_total',
        ),
      { timeout: 30_000 },
    )
    .toMatchObject([{ value: '0.0075' }]);
});

test("a guest's memory is told with its age, and an old word is not told as true", async () => {
  const id = await runningInstance('guest');
  const guest = { sizeBytes: 900, availableBytes: 300, freeBytes: 100, swapInBytes: 5, majorFaults: 6 };
  const lines = async (ageMs: number) => {
    measured([id], { guest: { ageMs, ...guest } });
    const { text } = await api.call('get', '/metrics').expect(200);
    return text.split('\n').flatMap((line) => {
      const [, name, value] = /^berth_instance_guest_(\w+)\{.*instance="guest".*\} (\S+)$/.exec(line) ?? [];
      return name === undefined ? [] : [`${name} ${value}`];
    });
  };
  expect(await lines(2_500)).toEqual([
    'memory_age_seconds 2.5',
    'memory_size_bytes 900',
    'memory_free_bytes 100',
    'memory_available_bytes 300',
    'swap_in_bytes_total 5',
    'major_faults_total 6',
  ]);
  expect(await lines(90_000)).toEqual(['memory_age_seconds 90']);
});

test('promtool finds nothing to complain about', async () => {
  await api.call('get', '/v1/projects/alpha/instances/nobody');
  const { text } = await api.call('get', '/metrics').expect(200);
  const check = exec('promtool', ['check', 'metrics']);
  check.child.stdin?.end(text);
  const { stdout, stderr } = await check;
  expect(stdout + stderr).toBe('');
  for (const name of ['process_cpu_seconds_total', 'nodejs_eventloop_lag_seconds', 'berth_store_connections'])
    expect(text).toContain(`\n${name}`);
});

test('requests are counted by route, so that no name makes a series', async () => {
  for (let i = 0; i < 20; i++) {
    await api.call('get', `/v1/projects/alpha/instances/made-up-${i}`);
    await api.call('get', `/nowhere/${i}`);
  }
  const { text } = await api.call('get', '/metrics').expect(200);
  expect(text).toMatch(
    /^berth_http_requests_total\{method="GET",route="\/v1\/projects\/:project\/instances\/:name",status="404"\} 2\d$/m,
  );
  expect(text).toMatch(/^berth_http_requests_total\{method="GET",route="\(none\)",status="404"\} 20$/m);
  expect(text).not.toContain('made-up');
});

test('why instances wait is told by the filter that refused most hosts', async () => {
  const spec = { isolation: 'container', image: 'oci', memoryMiB: 1_000_000 };
  await api.call('post', instances).send({ name: 'giant', spec }).expect(202);
  await api.settle();
  const { text } = await api.call('get', '/metrics').expect(200);
  expect(text).toMatch(/^berth_instances_pending\{reason="memory"\} 1$/m);
  expect(text).toMatch(/^berth_ledger_lag_seconds 0$/m);
});

test('an instance that ended has no lines, and those above the bound are counted', async () => {
  const made = await Promise.all(Array.from({ length: 3 }, (_, i) => runningInstance(`n${i}`)));
  measured(made);
  await api.call('post', `${instances}/n0/actions/stop`).expect(202);
  await api.settle();
  const { text } = await api.call('get', '/metrics').expect(200);
  expect(text).not.toMatch(/instance="n0"/);
  expect(text).toMatch(/^berth_instance_memory_bytes\{project="alpha",instance="n1",.*\} 1024$/m);
});

test('configured for loopback it needs no token on this machine, but one behind a proxy', async () => {
  const open = await Api.start({ config: { ...defaultHttpConfig, metricsAccess: 'loopback' } });
  try {
    await open.http.get('/metrics').expect(200);
    await open.http.get('/metrics').set('x-forwarded-for', '192.0.2.1').expect(401);
    await open.http.get('/v1/hosts').expect(401);
  } finally {
    await open.stop();
  }
  await api.http.get('/metrics').expect(401);
});

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address() as AddressInfo;
      server.close(() => resolve(port));
    });
  });
}
