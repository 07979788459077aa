import type { VolumeId } from '@berth/model';
import { DiskActivity, DiskUsage } from '@berth/model';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { XdrReader, XdrWriter } from '../libvirt/xdr.js';
import { readTyped } from '../libvirt/protocol.js';
import { diskRoles } from '../machine/disk-roles.js';
import { parsed } from '../machine/metadata.js';
import { volumeElement } from '../machine/volume-xml.js';
import { renderXml, xml } from '../machine/xml.js';
import type { QueryBlockstatsResult } from '../qmp/schema.gen.js';
import { disksOfLibvirt, disksOfQemu, disksTogether } from './machine-figures.js';

const volumeId = '0190c7a1-5b7e-7000-8000-000000000001' as VolumeId;
const stats = (changes: Partial<QueryBlockstatsResult['stats']> = {}): QueryBlockstatsResult['stats'] => ({
  ...{ rd_bytes: 1, wr_bytes: 2, unmap_bytes: 0, rd_operations: 3, wr_operations: 4, flush_operations: 5 },
  ...{ unmap_operations: 0, rd_total_time_ns: 6_000, wr_total_time_ns: 7_400, flush_total_time_ns: 8_600 },
  ...{ unmap_total_time_ns: 0, wr_highest_offset: 0, rd_merged: 0, wr_merged: 0, unmap_merged: 0 },
  ...{ failed_rd_operations: 9, failed_wr_operations: 10, failed_flush_operations: 11 },
  ...{ failed_unmap_operations: 0, invalid_rd_operations: 0, invalid_wr_operations: 0 },
  ...{
    invalid_flush_operations: 0,
    invalid_unmap_operations: 0,
    account_invalid: true,
    account_failed: true,
  },
  timed_stats: [],
  ...changes,
});

describe("what QEMU tells of a machine's disks", () => {
  it('names the root disk and volumes, knows other disks without a name, and leaves firmware out', () => {
    const disks = disksOfQemu([
      { 'node-name': 'root', qdev: '/machine/peripheral-anon/device[3]/virtio-backend', stats: stats() },
      { 'node-name': 'vol-x', qdev: `vol-${volumeId}`, stats: stats() },
      { 'node-name': 'seed', qdev: '/machine/peripheral-anon/device[4]', stats: stats() },
      { 'node-name': 'flash', qdev: '/machine/system.flash0', stats: stats() },
    ]);
    expect(disks.map((disk) => disk.volumeId)).toEqual([null, volumeId, undefined]);
    expect(disks[0]).toEqual({
      ...{ volumeId: null, readBytes: 1, writtenBytes: 2, reads: 3, writes: 4, flushes: 5 },
      ...{
        readMicros: 6,
        writeMicros: 7,
        flushMicros: 9,
        failedReads: 9,
        failedWrites: 10,
        failedFlushes: 11,
      },
    });
  });

  it('fits the link whatever it counts', () => {
    const big = fc.oneof(fc.nat(), fc.double({ min: 0, max: 2 ** 64, noNaN: true }));
    const counters = fc.record({
      ...{ rd_bytes: big, wr_bytes: big, rd_operations: big, wr_operations: big, flush_operations: big },
      ...{
        rd_total_time_ns: big,
        wr_total_time_ns: big,
        flush_total_time_ns: big,
        failed_rd_operations: big,
      },
    });
    fc.assert(
      fc.property(fc.array(counters, { maxLength: 4 }), (all) => {
        const disks = disksOfQemu(all.map((one) => ({ 'node-name': 'root', stats: stats(one) })));
        for (const disk of disks) DiskUsage.parse(disk);
        DiskActivity.parse(disksTogether(disks));
      }),
    );
  });
});

describe("libvirt's figures of a domain", () => {
  const document = renderXml(
    xml(
      'domain',
      {},
      xml('disk', { type: 'file' }, xml('target', { dev: 'vda' }), xml('alias', { name: 'virtio-disk0' })),
      volumeElement({
        ...{ volumeId, path: '/v', format: 'raw', readOnly: false, cache: 'none', limits: {}, target: 27 },
      }),
      xml('disk', { type: 'file' }, xml('target', { dev: 'sdz' }), xml('alias', { name: 'sata0-0-25' })),
    ),
  );

  it('stand at the names that the domain’s XML gives disks', () => {
    expect([...diskRoles(parsed(document))]).toEqual([
      ['vda', null],
      ['sdab', volumeId],
    ]);
  });

  it('are read as they come, and those that another job holds up are left out', () => {
    const writer = new XdrWriter();
    const params: [string, number | bigint | string][] = [['block.count', 4]];
    for (const [i, name] of ['vda', 'sdab', 'sdz'].entries()) {
      params.push([`block.${i}.name`, name], [`block.${i}.path`, '/host/path']);
      for (const [field, value] of Object.entries({
        ...{ 'rd.reqs': 1n, 'rd.bytes': 2n, 'rd.times': 3_000n, 'wr.reqs': 4n, 'wr.bytes': 5n },
        ...{ 'wr.times': 6_000n, 'fl.reqs': 7n, 'fl.times': 8_000n },
      }))
        params.push([`block.${i}.${field}`, value + BigInt(i)]);
    }
    params.push(['block.3.name', 'sdb']);
    writer.array(params, ([name, value]) => {
      writer.string(name);
      if (typeof value === 'bigint') writer.int(4).uhyper(value);
      else if (typeof value === 'number') writer.int(2).uint(value);
      else writer.int(7).string(value);
    });
    const reader = new XdrReader(writer.bytes());
    const disks = disksOfLibvirt(readTyped(reader), diskRoles(parsed(document)));
    reader.end();
    expect(disks.map((disk) => disk.volumeId)).toEqual([null, volumeId, undefined]);
    expect(disks[0]).toEqual({
      ...{ volumeId: null, readBytes: 2, writtenBytes: 5, reads: 1, writes: 4, flushes: 7 },
      ...{ readMicros: 3, writeMicros: 6, flushMicros: 8 },
    });
    expect(JSON.stringify(disks)).not.toContain('/host');
    // What one does not tell cannot be told of all.
    expect(disksTogether(disks)).toEqual({
      ...{ reads: 6, writes: 15, flushes: 24, readMicros: 9, writeMicros: 18, flushMicros: 24 },
    });
  });

  it('of an unknown type end the reading, and of every known one do not', () => {
    const writer = new XdrWriter().uint(1).string('x').int(8).int(0);
    expect(() => readTyped(new XdrReader(writer.bytes()))).toThrow('unknown type 8');
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
        try {
          readTyped(new XdrReader(Buffer.from(bytes)));
        } catch (error) {
          expect((error as Error).name).toBe('XdrError');
        }
      }),
    );
  });
});
