import { test } from 'vitest';
import { startLibvirtd } from './testing/libvirtd.js';
import { LibvirtClient } from './libvirt/client.js';
import { execFileSync } from 'node:child_process';
test('try', async () => {
  let t = performance.now();
  const lap = (n: string) => { console.log(n, Math.round(performance.now() - t)); t = performance.now(); };
  const d = await startLibvirtd();
  lap('up');
  const c = new LibvirtClient({ socketPath: d.socket });
  await c.connect(); lap('open');
  console.log(execFileSync('virsh', ['-c', `qemu+unix:///system?socket=${d.socket}`, 'nodeinfo']).toString());
  lap('virsh');
  await d.restart(); lap('restart');
  await c.list().catch(e => e); lap('list');
  c.close();
  await d.stop(); lap('stop');
});
