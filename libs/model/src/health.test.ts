import { describe, expect, it } from 'vitest';
import { healthyType, isGoodNews, notReadyType, troublesOf } from './conditions.js';
import { ProbesSpec } from './health.js';
import { InstanceSpec } from './instance.js';

const base = { isolation: 'container', image: 'busybox', memoryMiB: 64 };
const said = (over: object): { path: string; message: string }[] =>
  (InstanceSpec.safeParse({ ...base, ...over }).error?.issues ?? []).map(({ path, message }) => ({
    path: path.join('.'),
    message,
  }));

describe('probes', () => {
  it('have defaults, and ask one thing each', () => {
    expect(ProbesSpec.parse({ liveness: { tcp: { port: 80 } } }).liveness).toEqual({
      tcp: { port: 80 },
      intervalSeconds: 10,
      timeoutSeconds: 5,
      failureThreshold: 3,
      startPeriodSeconds: 0,
    });
    expect(said({ probes: { readiness: {} } })).toEqual([
      { path: 'probes.readiness', message: expect.stringContaining('exactly one') },
    ]);
    expect(said({ probes: { startup: { tcp: { port: 1 }, http: { port: 1 } } } })).toHaveLength(1);
  });

  it('are refused where nothing could answer them, by the field and with the reason', () => {
    const exec = { exec: { command: ['true'] } };
    expect(said({ probes: { liveness: exec } })).toEqual([]);
    expect(said({ isolation: 'microvm', memoryMiB: 128, probes: { liveness: exec } })).toEqual([]);
    expect(said({ isolation: 'vm', probes: { liveness: exec } })).toEqual([
      { path: 'probes.liveness.exec', message: expect.stringContaining('use http or tcp') },
    ]);
    expect(said({ nics: [], probes: { readiness: { http: { port: 80 } } } })).toEqual([
      { path: 'probes.readiness.http', message: expect.stringContaining('give it one, or use exec') },
    ]);
  });

  it('take no path that is no path of HTTP, and no program that cannot be given', () => {
    for (const path of ['x', '/a b', '/a\r\nX: y', '/ä'])
      expect(said({ probes: { readiness: { http: { port: 80, path } } } }), path).toHaveLength(1);
    for (const command of [[], [''], ['a\0b']])
      expect(said({ probes: { liveness: { exec: { command } } } }), String(command)).toHaveLength(1);
  });

  it('say good news that are no trouble, and bad ones that are', () => {
    expect(isGoodNews({ type: healthyType })).toBe(true);
    expect(troublesOf([{ type: healthyType }, { type: notReadyType }])).toEqual([{ type: notReadyType }]);
  });
});
