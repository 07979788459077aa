import { randomUUID } from 'node:crypto';
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { isCapable } from '@berth/linux';
import type { HostMount, VolumeId } from '@berth/model';
import type { WorkloadSpec } from '@berth/runtime';
import { ContainerLab, context } from '../testing/container-lab.js';
import { logUntil, up } from '../testing/workload-steps.js';

/** Data volumes of real containers. */
const lab = new ContainerLab();
let made: WorkloadSpec[] = [];
let volumes: HostMount[] = [];
beforeAll(() => lab.open());
afterEach(async () => {
  for (const spec of made) await lab.runtime().remove(spec, context());
  for (const { id } of volumes) await lab.runtime().removeVolume(id, context());
  [made, volumes] = [[], []];
});
afterAll(() => lab.close());

function volume(more: Partial<HostMount> = {}): HostMount {
  const one = { id: randomUUID() as VolumeId, sizeMiB: 16, readOnly: false, path: '/data', ...more };
  volumes.push(one);
  return one;
}

/** What a script prints in a container that has these, which goes on. */
async function says(
  script: string,
  mounts: readonly HostMount[],
  more: Partial<WorkloadSpec> = {},
): Promise<[string, WorkloadSpec]> {
  const spec = lab.spec(`(${script}) 2>&1; echo end; sleep 1000`, { mounts, cpuMillis: null, ...more });
  made.push(spec);
  await up(lab.runtime(), spec);
  return [await logUntil(lab.runtime(), spec, 'end\n'), spec];
}

const gone = async (spec: WorkloadSpec): Promise<void> => {
  await lab.runtime().remove(spec, context());
  made = made.filter((one) => one !== spec);
};

it('outlive the container, and belong in the next one to the same users, whoever they are on the host', async () => {
  const data = volume();
  const write =
    'echo kept > /data/file; chown 7:8 /data/file; chmod 4755 /data/file; stat -c %a:%u /data; mknod /data/null c 1 3';
  const [said, first] = await says(write, [data]);
  expect(said).toContain('755:0\n');
  expect(said).toContain('Operation not permitted');
  const host = statSync(join(lab.root, 'run/oci/mounts', `${first.instanceId}.1`, data.id, 'file'));
  expect(host.uid % 65_536).toBe(7);
  await expect(lab.runtime().removeVolume(data.id, context())).rejects.toMatchObject({ code: 'hostFault' });
  await gone(first);
  expect(lab.leftovers(first)).toEqual([]);
  const look =
    'cat /data/file; stat -c %u:%g:%a /data/file; grep " /data " /proc/self/mountinfo; echo x > /data/more';
  const [again, second] = await says(look, [{ ...data, readOnly: true }]);
  expect(again).toMatch(/kept\n7:8:4755\n.* \/data ro,nosuid,nodev/);
  expect(again).toContain('Read-only file system');
  expect(await lab.volumes()).toContain(data.id);
  await gone(second);
  await lab.runtime().removeVolume(data.id, context());
  expect(await lab.volumes()).not.toContain(data.id);
});

it('that are full are full for who fills them alone, and grow', async () => {
  const data = volume();
  const fill = 'dd if=/dev/zero of=/data/fill bs=1M count=64; echo fine > /elsewhere; cat /elsewhere';
  const [said, spec] = await says(fill, [data]);
  expect(said).toMatch(/No space left on device[^]*fine/);
  const mounts = [{ ...data, sizeMiB: 48 }];
  const has = await lab.runtime().update?.({ ...spec, mounts }, context());
  const online = isCapable('sys_resource');
  expect(has?.volumes).toContainEqual(
    online ? { id: data.id, sizeMiB: 48 } : expect.objectContaining({ id: data.id }),
  );
  expect(has?.unsettled.map(({ field }) => field)).toEqual(online ? [] : ['volumes']);
  await gone(spec);
  const more = 'dd if=/dev/zero of=/data/more bs=1M count=20 && echo more; ls /data';
  expect((await says(more, mounts))[0]).toMatch(/more\n.*fill/);
});

it('begin with the owner of the image’s directory, and lie in each other', async () => {
  const [outer, inner] = [volume({ path: '/home' }), volume({ path: '/home/deep/inner' })];
  const look =
    'stat -c "%n %u:%g %a" /home /home/deep/inner; echo x > /home/deep/inner/file && echo written; df -P /home /home/deep/inner | tail -n 2 | cut -c1-9 | uniq | wc -l';
  const [said] = await says(look, [inner, outer]);
  expect(said).toMatch(/\/home 0:0 755\n\/home\/deep\/inner 0:0 755\nwritten/);
});

it('are there again for a run that follows a crash, by an agent that remembers nothing, with what is wanted then', async () => {
  const [data, later] = [volume(), volume({ path: '/later' })];
  const spec = lab.spec(
    'ls -d /data /later; echo run >> /data/log; cat /data/log; echo end; sleep 1; exit 3',
    {
      mounts: [data],
    },
  );
  made.push(spec);
  await up(lab.runtime(), spec);
  await logUntil(lab.runtime(), spec, 'end\n');
  await expect
    .poll(async () => (await lab.runtime().recover()).find((o) => o.instanceId === spec.instanceId)?.exit, {
      timeout: 15_000,
    })
    .toMatchObject({ code: 3 });
  await lab.runtime().start({ ...spec, mounts: [data, later] }, context());
  await logUntil(lab.runtime(), spec, '/data\n/later\nrun\nrun\nend\n');
  const has = await lab.runtime().update?.({ ...spec, mounts: [data] }, context());
  // Detached, and held as long as it runs.
  expect(has?.volumes.map(({ id }) => id)).toEqual(expect.arrayContaining([data.id, later.id]));
});
