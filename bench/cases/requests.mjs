// One GET through token, action, project and store against a handler of the same frameworks that only answers; and how many
// instances a second are recorded for good.
import 'reflect-metadata';
import { createRequire } from 'node:module';
import { inTurn, comparison, now } from '../measure.mjs';
import { client } from '../programs.mjs';
import * as containers from './container.mjs';

// The frameworks are the API's dependencies.
const require = createRequire(new URL('../../apps/api/package.json', import.meta.url));
const requests = 200;
const posts = 300;
const atOnce = 16;

export async function get({ berth, pairs, limitMs, progress }) {
  const name = 'bench-get';
  await berth.call('POST', '/v1/projects/default/instances', {
    name,
    spec: { ...containers.spec, desired: 'stopped' },
  });
  const body = await berth.call('GET', `/v1/projects/default/instances/${name}`);
  const bare = await bareHandler(body);
  try {
    const bareCall = client({ host: '127.0.0.1', port: bare.port });
    const times = await inTurn(
      {
        berth: () => each(() => berth.call('GET', `/v1/projects/default/instances/${name}`)),
        bare: () => each(() => bareCall('GET', '/instance')),
      },
      { rounds: pairs, limitMs, progress },
    );
    const what = `GET of one instance, mean of ${requests} in a row`;
    return {
      comparisons: [
        comparison(
          what,
          times.berth,
          times.bare,
          'Nest on Fastify, a handler that gives the same body',
          null,
        ),
      ],
    };
  } finally {
    await bare.close();
    await berth.delete(name);
  }
}

async function each(ask) {
  const begun = now();
  for (let i = 0; i < requests; i++) await ask();
  return (now() - begun) / requests;
}

/** Nest's decorators, applied by hand: this is no TypeScript. */
async function bareHandler(body) {
  const { Controller, Get, Module } = require('@nestjs/common');
  const { NestFactory } = require('@nestjs/core');
  const { FastifyAdapter } = require('@nestjs/platform-fastify');
  class Bare {
    answer() {
      return body;
    }
  }
  Get('instance')(Bare.prototype, 'answer', Object.getOwnPropertyDescriptor(Bare.prototype, 'answer'));
  Controller()(Bare);
  class Root {}
  Module({ controllers: [Bare] })(Root);
  const app = await NestFactory.create(Root, new FastifyAdapter(), { logger: false });
  await app.listen(0, '127.0.0.1');
  return { port: app.getHttpServer().address().port, close: () => app.close() };
}

/** Instances that are wanted stopped: their POST is the whole work, and it is durable when it is answered. */
export async function rate({ berth, progress }) {
  const spec = { ...containers.spec, desired: 'stopped', nics: [] };
  const names = Array.from({ length: posts }, (_, i) => `bench-p${i}`);
  const begun = now();
  await inLanes(names, (name) => berth.call('POST', '/v1/projects/default/instances', { name, spec }));
  const seconds = (now() - begun) / 1000;
  progress(`${posts} POSTs in ${seconds.toFixed(1)} s`);
  await inLanes(names, (name) => berth.delete(name));
  return { facts: [[`POSTs recorded for good, ${atOnce} at once`, `${(posts / seconds).toFixed(0)} /s`]] };
}

async function inLanes(all, work) {
  const waiting = [...all];
  const lane = async () => {
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) await work(next);
  };
  await Promise.all(Array.from({ length: atOnce }, lane));
}
