import { describe, expect, test } from 'vitest';
import { BerthError, type ProjectId } from '@berth/model';
import { actions, actionsOf, type ActionName } from './actions.js';
import { authorise, type Principal } from './principal.js';
import { bearerOf, hashSecret, makeSecret } from './secret.js';

const principal = (role: Principal['role'], project: string | null): Principal => ({
  actor: 'token:t',
  tokenId: 't',
  role,
  project,
  projectId: project === null ? null : ('p' as ProjectId),
  session: null,
});

function verdict(p: Principal, action: ActionName, project?: string): string {
  try {
    authorise(p, action, project);
    return 'allowed';
  } catch (error) {
    return (error as BerthError).code;
  }
}

describe('the access table', () => {
  test('each role may do all that the role below it may, and more', () => {
    const [viewer, operator, admin] = (['viewer', 'operator', 'admin'] as const).map(actionsOf);
    expect(operator).toEqual(expect.arrayContaining(viewer ?? []));
    expect(admin).toEqual(expect.arrayContaining(operator ?? []));
    expect(viewer?.length).toBeLessThan(operator?.length ?? 0);
    expect(operator?.length).toBeLessThan(admin?.length ?? 0);
  });

  test('a viewer changes nothing', () => {
    const changing = /\.(create|update|act|delete|import|revoke)$/;
    expect(actionsOf('viewer').filter((a) => changing.test(a))).toEqual([]);
  });

  test('a foreign project is not found whatever the role, and not forbidden', () => {
    for (const action of Object.keys(actions) as ActionName[])
      expect(verdict(principal('admin', 'a'), action, 'b')).toBe('notFound');
  });

  test('a token of one project reaches nothing of the cluster', () => {
    const cluster = (Object.keys(actions) as ActionName[]).filter((a) => actions[a].scope === 'cluster');
    expect(cluster.map((a) => verdict(principal('admin', 'a'), a))).toEqual(cluster.map(() => 'forbidden'));
    expect(cluster.map((a) => verdict(principal('admin', null), a))).toEqual(cluster.map(() => 'allowed'));
  });

  test('an operator creates instances and no tokens', () => {
    expect(verdict(principal('operator', 'a'), 'instances.create', 'a')).toBe('allowed');
    expect(verdict(principal('operator', 'a'), 'tokens.create')).toBe('forbidden');
  });
});

describe('bearer secrets', () => {
  test('a made secret comes back from its header, and its hash is what is stored', () => {
    const { plain, hash } = makeSecret('berth_');
    expect(bearerOf(`Bearer ${plain}`)).toBe(plain);
    expect(hashSecret(plain)).toBe(hash);
    expect(hash).not.toContain(plain.slice(6));
  });

  test('two secrets differ', () => {
    expect(makeSecret('berth_').plain).not.toBe(makeSecret('berth_').plain);
  });

  test.each([
    undefined,
    '',
    'Bearer',
    'Bearer ',
    'Bearer x',
    'Basic abc',
    'Bearer berth_short',
    `Bearer berth_${'a'.repeat(44)}`,
  ])('the header %j carries no token', (header) => {
    expect(bearerOf(header)).toBeNull();
  });
});
