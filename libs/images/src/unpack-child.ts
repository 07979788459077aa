/**
 * Entry of the process that unpacks one layer. Started by the layer store with few capabilities; it loads its code,
 * enters the target directory by chroot, becomes a user that nobody is, and only then reads the first byte.
 */
import { writeSync } from 'node:fs';
import type { Readable } from 'node:stream';
import { createGunzip } from 'node:zlib';
import { becomeUser, chroot } from '@berth/linux';
import { ImageError } from './image-error.js';
import { nodeCalls } from './node-make.js';
import { readFault } from './tar-entries.js';
import { LayerUnpacker } from './unpack-layer.js';
import type { UnpackAnswer, UnpackOrder } from './unpack-protocol.js';

const order = JSON.parse(process.argv[2] ?? '') as UnpackOrder;
const input: Readable = process.stdin;

async function unpack(): Promise<UnpackAnswer> {
  chroot(order.directory);
  becomeUser(order.id, ['chown', 'dac_override', 'fowner', 'fsetid', 'setfcap']);
  process.umask(0);
  const tar = order.gzip ? input.pipe(createGunzip()) : input;
  if (tar !== input) input.on('error', (e) => tar.destroy(e));
  return new LayerUnpacker('/', order.limits, nodeCalls).unpack(tar);
}

unpack()
  .catch((e: unknown): UnpackAnswer => {
    const fault = e instanceof ImageError ? e : readFault(e);
    return { ok: false, code: fault.code, message: fault.message };
  })
  .then((answer) => {
    const bytes = Buffer.from(JSON.stringify(answer));
    for (let at = 0; at < bytes.length;) at += writeSync(3, bytes, at);
    process.exit(0);
  });
