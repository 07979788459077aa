import fc from 'fast-check';
import { expect, it } from 'vitest';
import { layerAnswer, layerOfAnswer } from './layer.js';

const never = (): never => {
  throw new Error('no refusal');
};
async function* of(chunks: readonly Uint8Array[]): AsyncGenerator<Uint8Array> {
  for (const chunk of chunks) yield await Promise.resolve(chunk);
}
async function whole(source: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  for await (const part of source) parts.push(part);
  return Buffer.concat(parts);
}
async function read(bytes: Buffer, cuts: readonly number[]): Promise<Buffer> {
  const at = [0, ...cuts.map((c) => c % (bytes.length + 1)).sort((a, b) => a - b), bytes.length];
  const pieces = at.slice(1).map((to, i) => bytes.subarray(at[i], to));
  return whole(layerOfAnswer(of(pieces), ({ code, message }) => new Error(`${code}: ${message}`)));
}

it('comes over whole however it is cut into pieces, and never in part', async () => {
  const chunks = fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 6 });
  await fc.assert(
    fc.asyncProperty(chunks, fc.array(fc.nat(), { maxLength: 8 }), fc.nat(), async (sent, cuts, lost) => {
      const bytes = await whole(layerAnswer(of(sent), never));
      expect(await read(bytes, cuts)).toEqual(Buffer.concat(sent));
      const short = bytes.subarray(0, lost % bytes.length);
      await expect(read(short, cuts)).rejects.toMatchObject({ code: 'closed' });
    }),
  );
});

it('tells why it ended early', async () => {
  const refusal = { code: 'badImage', message: 'no', remedy: 'yes' };
  async function* failing(): AsyncGenerator<Uint8Array> {
    yield await Promise.resolve(Buffer.from('begun'));
    throw new Error('over');
  }
  const bytes = await whole(layerAnswer(failing(), () => refusal));
  await expect(read(bytes, [])).rejects.toThrow('badImage: no');
});

it('that was changed on the way is refused', async () => {
  const bytes = await whole(layerAnswer(of([Buffer.from('layer')]), never));
  bytes[6] = 0x20;
  await expect(read(bytes, [])).rejects.toThrow('changed on its way');
});

it.each([
  ['a part without an end', Buffer.from('ffffffff', 'hex')],
  ['too long a last word', Buffer.from('00000000ffffffff', 'hex')],
  ['another word', Buffer.concat([Buffer.from('0000000000000002', 'hex'), Buffer.from('{}')])],
])('%s is refused', async (_, bytes) => {
  await expect(read(bytes, [])).rejects.toMatchObject({ code: 'malformed' });
});
