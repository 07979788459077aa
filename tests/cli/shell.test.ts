import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { CliLab } from './lab.js';

const instances = '/v1/projects/alpha/instances';
const spec = { isolation: 'container', image: 'oci', memoryMiB: 64 };

let lab: CliLab;
beforeAll(async () => {
  lab = await CliLab.start();
  for (const name of ['web-1', 'web-2', 'db'])
    await lab.api.call('post', `${instances}?wait=10`).send({ name, spec }).expect(202);
}, 120_000);
afterAll(() => lab.stop());

describe('a shell', () => {
  /** What the tab key offers after the words, the last one unfinished. */
  const offers: Readonly<Record<string, (words: readonly string[]) => string>> = {
    bash: (words) =>
      `source <(berth completion bash); COMP_WORDS=(berth ${words.map((w) => `'${w}'`).join(' ')})
       COMP_CWORD=${words.length}; _berth; printf '%s\\n' "\${COMPREPLY[@]}"`,
    // compadd works inside the line editor only; here it says what it was given.
    zsh: (words) =>
      `autoload -Uz compinit; compinit -u; source <(berth completion zsh); compadd() { shift; print -l \${(P)1} }
       words=(berth ${words.map((w) => `'${w}'`).join(' ')}); CURRENT=${words.length + 1}; _berth`,
    fish: (words) => `berth completion fish | source; complete -C 'berth ${words.join(' ')}'`,
  };

  test.each(Object.keys(offers))('%s completes commands, options and names of the API', async (shell) => {
    const tab = async (...words: string[]): Promise<string[]> => {
      const { out, err } = await lab.run(offers[shell]!(words), shell);
      expect(err).toBe('');
      return out
        .split('\n')
        .map((line) => line.split('\t')[0] ?? '')
        .filter((line) => line !== '');
    };
    expect(await tab('des')).toEqual(['describe']);
    expect(await tab('stop', 'web')).toEqual(['web-1', 'web-2']);
    expect(await tab('get', 'host', '')).toEqual(['host-1']);
    expect(await tab('image', 'r')).toEqual(['rm']);
    expect(await tab('get', 'instances', '-o', 'y')).toEqual(['yaml']);
  });

  test('offers nothing, and says nothing, while the API is away', async () => {
    const { code, out, err } = await lab.run('berth __complete -- stop we', 'bash', {
      BERTH_API: 'http://127.0.0.1:1',
    });
    expect({ code, out, err }).toEqual({ code: 0, out: '', err: '' });
  });
});

describe('--watch', () => {
  test('shows an object as it comes, changes and goes, each look once', async () => {
    const watching = lab.begin('berth get instances --watch -o json');
    const seen = (): { name: string; deleted?: boolean; status?: { state: string } }[] =>
      watching.out
        .split('\n')
        .filter((l) => l !== '')
        .map((l) => JSON.parse(l) as never);
    await expect.poll(() => seen().length, { timeout: 15_000 }).toBe(3);
    await lab.api.call('post', `${instances}?wait=10`).send({ name: 'late', spec }).expect(202);
    const states = () =>
      seen()
        .filter((o) => o.name === 'late')
        .map((o) => o.status?.state ?? 'deleted');
    await expect.poll(states, { timeout: 15_000 }).toContain('running');
    await lab.api.call('delete', `${instances}/late?wait=10`).expect(202);
    await expect.poll(states, { timeout: 15_000 }).toContain('deleted');
    watching.interrupt();
    expect((await watching.ended).code).toBe(130);
    expect(new Set(seen().map((o) => JSON.stringify(o))).size).toBe(seen().length);
  });

  test('of one name shows no other, as a table under one head', async () => {
    const watching = lab.begin('berth get instance db --watch');
    await expect.poll(() => watching.out, { timeout: 15_000 }).toContain('running');
    await lab.api.call('post', `${instances}/web-1/actions/stop?wait=10`).expect(202);
    await lab.api.call('post', `${instances}/db/actions/stop?wait=10`).expect(202);
    await expect.poll(() => watching.out, { timeout: 15_000 }).toContain('stopped');
    watching.interrupt();
    const { out } = await watching.ended;
    const lines = out.trimEnd().split('\n');
    expect(lines[0]).toMatch(/^NAME +ISOLATION +STATE/);
    for (const line of lines.slice(1)) expect(line).toMatch(/^db /);
  });

  test('of what is not there, or of an API that is away, ends at once', async () => {
    expect(await lab.run('berth get instance nobody --watch')).toMatchObject({ code: 4 });
    const away = await lab.run('berth get instances --watch', 'bash', { BERTH_API: 'http://127.0.0.1:1' });
    expect(away).toMatchObject({ code: 3, err: expect.stringContaining('berth up') });
  });
});

describe('errors say the next step', () => {
  test.each([
    ['berth get instnaces', 2, 'Did you mean instances?'],
    ['berth strat web-1', 2, 'Did you mean start?'],
    ['berth get instance nobody', 4, '->'],
    ['berth get hosts --token berth_gone', 5, 'berth token create'],
    ['berth create -f examples/container.yaml --set spec.memoryMiB=1', 5, '/spec/memoryMiB'],
    ['berth create -f none.yaml', 2, 'none.yaml cannot be read'],
    ['berth token revoke nobody', 4, 'berth token ls'],
    ['berth stop web-1 nobody', 4, '1 of 2 did not succeed'],
  ])('%s ends with %i', async (line, code, says) => {
    expect(await lab.run(line)).toMatchObject({ code, err: expect.stringContaining(says) });
  });
});

test('several documents are created from the standard input, and each is waited for', async () => {
  const yaml = ['one', 'two'].map(
    (name) => `name: ${name}\\nspec: {isolation: container, image: oci, memoryMiB: 64}`,
  );
  const { code, out } = await lab.run(`printf -- '${yaml.join('\\n---\\n')}' | berth create -f -`);
  expect(code).toBe(0);
  expect(out).toMatch(/^one: create succeeded/m);
  expect(out).toMatch(/^two: create succeeded/m);
});

describe('create --dry-run', () => {
  const dry = (yaml: string, more = '') =>
    lab.run(`printf -- '${yaml.replaceAll('\n', '\\n')}' | berth create -f - --dry-run ${more}`);
  const named = (name: string, memoryMiB: number) =>
    `name: ${name}\nspec: {isolation: container, image: oci, memoryMiB: ${memoryMiB}}\n`;

  test('shows the decision for each document, and creates nothing', async () => {
    const { code, out, err } = await dry(`${named('small', 64)}---\n${named('giant', 900_000)}`);
    expect(code).toBe(0);
    expect(out).toMatch(/^small: placed on host-1/);
    expect(out).toMatch(/^HOST +VERDICT +FILTER/m);
    expect(out).toMatch(/^giant: no host/m);
    expect(out).toMatch(/^host-1 +refused +memory +900000/m);
    expect(err).toContain('judged by itself');
    expect(await lab.run('berth get instance small')).toMatchObject({ code: 4 });
  });
  test('is refused where creating would be', async () => {
    expect(await dry(named('db', 64))).toMatchObject({ code: 5, err: expect.stringContaining('nameTaken') });
    expect(await dry('spec: {isolation: container, image: oci, memoryMiB: 64}')).toMatchObject({
      code: 5,
      err: expect.stringContaining('/name'),
    });
    expect(await dry(named('x', 1))).toMatchObject({
      code: 5,
      err: expect.stringContaining('/spec/memoryMiB'),
    });
  });
  test('gives the decision of the API as JSON', async () => {
    const { out } = await dry(named('small', 64), '-o json');
    expect(JSON.parse(out)).toMatchObject({ decision: { outcome: 'placed', host: 'host-1' } });
  });
});

test('describe tells state, conditions, decision and events of an instance', async () => {
  const { out } = await lab.run('berth describe instance web-2');
  for (const part of [
    'State:',
    'running',
    'Conditions:',
    'Decision:',
    'host-1',
    'Events:',
    'instance.created',
  ])
    expect(out).toContain(part);
});

describe('wait', () => {
  test('ends when all are as they are wanted, as the events tell, and not before', async () => {
    for (const name of ['web-1', 'db']) await lab.run(`berth start ${name}`);
    expect(await lab.run('berth wait web-1 db')).toEqual({
      code: 0,
      out: 'web-1: running\ndb: running\n',
      err: '',
    });
    const waiting = lab.begin('berth wait web-1 db --for stopped --timeout 60');
    await lab.run('berth stop web-1');
    await expect.poll(() => waiting.out, { timeout: 30_000 }).toBe('web-1: stopped\n');
    await lab.run('berth stop db');
    expect(await waiting.ended).toMatchObject({ code: 0, out: 'web-1: stopped\ndb: stopped\n' });
    const late = await lab.run('berth wait db --for running --timeout 1');
    expect(late).toMatchObject({
      code: 6,
      err: expect.stringContaining('db is stopped and not running after 1 s'),
    });
    expect((await lab.run('berth wait passing --for deleted')).code).toBe(0); // it is not there
    await lab.api.call('post', `${instances}?wait=10`).send({ name: 'passing', spec }).expect(202);
    const going = lab.begin('berth wait passing --for deleted --timeout 60');
    await lab.run('berth delete passing');
    expect(await going.ended).toMatchObject({ code: 0, out: 'passing: deleted\n' });
  }, 120_000);

  test('for what only probes tell is refused where there are none', async () => {
    await lab.api.facetsAdd('probes');
    const well = { tcp: { port: 80 } };
    const probed = { ...spec, probes: { readiness: well, liveness: well } };
    await lab.api.call('post', `${instances}?wait=10`).send({ name: 'probed', spec: probed }).expect(202);
    for (const state of ['ready', 'healthy'])
      expect(await lab.run(`berth wait probed --for ${state}`)).toMatchObject({
        code: 0,
        out: `probed: ${state}\n`,
      });
    const none = await lab.run('berth wait web-1 --for ready');
    expect(none).toMatchObject({ code: 2, err: expect.stringContaining('readiness probe') });
  });
});

describe('stats', () => {
  test('are drawn over themselves in a terminal, round by round, until nothing of it runs', async () => {
    for (const name of ['drawn-1', 'drawn-2'])
      await lab.api.call('post', `${instances}?wait=10`).send({ name, spec }).expect(202);
    const seen = lab.beginInTerminal('berth stats drawn-2 drawn-1');
    await expect.poll(() => seen.out, { timeout: 15_000 }).toContain('\u001b[3A\u001b[J');
    const [head, first, second] = seen.out.split('\r\n');
    expect(head).toMatch(/^NAME +CPU +MEMORY +MEMORY% +NET IN\/OUT +BLOCK IN\/OUT +PIDS$/);
    expect(first).toMatch(
      /^drawn-2 +25\.0% +1\.0 MiB \/ 64\.0 MiB +1\.6% +2\.0 KiB \/ 1\.0 KiB +0 B \/ - +3$/,
    );
    expect(second).toMatch(/^drawn-1 /);
    for (const name of ['drawn-1', 'drawn-2'])
      await lab.api.call('post', `${instances}/${name}/actions/stop?wait=10`).expect(202);
    const { code, out } = await seen.ended;
    expect(code).toBe(0);
    expect(out).toContain('drawn-1 does not run any more');
    for (const name of ['drawn-1', 'drawn-2'])
      await lab.api.call('delete', `${instances}/${name}?wait=10`).expect(202);
  });

  test('for a script are an object for each on a line; what cannot be measured ends the command', async () => {
    await lab.api.call('post', `${instances}/web-2/actions/start?wait=10`);
    const { code, out } = await lab.run('berth -o json stats --once web-2');
    expect(code).toBe(0);
    expect(JSON.parse(out)).toMatchObject({ name: 'web-2', cpuMillis: 250, pids: 3 });
    expect(await lab.run('berth stats nowhere web-2')).toMatchObject({ code: 4, out: '' });
    expect(await lab.run('berth stats --interval 61 web-2')).toMatchObject({ code: 5 });
    const many = Array.from({ length: 33 }, (_, n) => `i${n}`).join(' ');
    expect(await lab.run(`berth stats ${many}`)).toMatchObject({
      code: 2,
      err: expect.stringMatching(/at most 32/),
    });
  });
});
