import { answer } from '@berth/client';
import { useMutation, useQueryClient, type QueryClient } from '@tanstack/react-query';
import { api, type Instance } from '../api/client.js';
import { instanceQuery } from '../api/queries.js';
import type { Verb } from './verbs.js';

type Where = Pick<Instance, 'project' | 'name'>;

/** Shows what the API answered at once, without waiting for its events. */
function show(client: QueryClient, { project, name }: Where, instance: Instance | null): void {
  if (instance !== null) client.setQueryData(instanceQuery(project, name).queryKey, instance);
  void client.invalidateQueries({ queryKey: ['instances', project] });
}

export function useAct(where: Where) {
  const client = useQueryClient();
  const { project, name } = where;
  return useMutation({
    mutationFn: (verb: Verb) =>
      answer(
        api.rest.POST('/v1/projects/{project}/instances/{name}/actions/{verb}', {
          params: { path: { project, name, verb } },
        }),
      ),
    onSuccess: ({ instance }) => show(client, where, instance),
  });
}

/** Of what is being stopped; a restart stays one. */
export function useForceStop(where: Instance) {
  const client = useQueryClient();
  const { project, name } = where;
  const verb = where.spec.desired === 'stopped' ? 'stop' : 'restart';
  return useMutation({
    mutationFn: () => {
      const path = '/v1/projects/{project}/instances/{name}/actions/{verb}';
      const params = { path: { project, name, verb }, query: { graceSeconds: 0 } };
      return answer(api.rest.POST(path, { params }));
    },
    onSuccess: ({ instance }) => show(client, where, instance),
  });
}

/** @throws also what its host refused: the operation is over when it is answered */
export function useReset(where: Where) {
  const client = useQueryClient();
  const { project, name } = where;
  return useMutation({
    mutationFn: async () => {
      const path = '/v1/projects/{project}/instances/{name}/actions/reset';
      const done = await answer(api.rest.POST(path, { params: { path: { project, name } } }));
      const { error } = done.operation;
      if (error !== null) throw new Error(error.message);
      return done;
    },
    onSuccess: ({ instance }) => show(client, where, instance),
  });
}

/** Takes the name of the image: another, or the one it has. */
export function useRebuild(where: Where) {
  const client = useQueryClient();
  const { project, name } = where;
  return useMutation({
    mutationFn: (image: string) => {
      const path = '/v1/projects/{project}/instances/{name}/actions/rebuild';
      return answer(api.rest.POST(path, { params: { path: { project, name } }, body: { image } }));
    },
    onSuccess: ({ instance }) => show(client, where, instance),
  });
}

export function useDelete(where: Where) {
  const client = useQueryClient();
  const { project, name } = where;
  return useMutation({
    mutationFn: () =>
      answer(
        api.rest.DELETE('/v1/projects/{project}/instances/{name}', { params: { path: { project, name } } }),
      ),
    onSuccess: ({ instance }) => show(client, where, instance),
  });
}

interface Medium {
  readonly drive: number;
  /** Name of an image; empty for an empty drive. */
  readonly image: string;
  readonly force: boolean;
}

/** Puts a medium into a drive of what is shown, or takes it out. @throws ProblemError preconditionFailed when its spec changed since */
export function useMedium(where: Instance) {
  const client = useQueryClient();
  const { project, name, spec } = where;
  return useMutation({
    mutationFn: ({ drive, image, force }: Medium) => {
      const cdroms = (spec.cdroms ?? []).map(({ image: had, ...one }, i) => {
        if (i === drive) return { ...one, force, ...(image === '' ? {} : { image }) };
        return { ...one, ...(had === undefined ? {} : { image: had }) };
      });
      return answer(
        api.rest.PUT('/v1/projects/{project}/instances/{name}', {
          params: {
            path: { project, name },
            query: {},
            header: { 'if-match': `"${where.resourceVersion}"` },
          },
          body: { spec: { ...spec, cdroms } },
        }),
      );
    },
    onSuccess: (done) => {
      if ('instance' in done) show(client, where, done.instance);
    },
  });
}
