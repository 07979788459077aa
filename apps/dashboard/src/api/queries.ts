import { answer, everyPage } from '@berth/client';
import { infiniteQueryOptions, keepPreviousData, queryOptions } from '@tanstack/react-query';
import { api } from './client.js';

/*
 * Every question the pages ask, under the keys that live/stale.ts invalidates. Nothing is asked again on a timer: what
 * is here stays fresh until an event says otherwise.
 */

export interface InstanceFilter {
  readonly state?: string | undefined;
  readonly isolation?: string | undefined;
  readonly host?: string | undefined;
  readonly selector?: string | undefined;
  readonly search?: string | undefined;
}

/** Rows of one page of a list. */
export const pageSize = 50;

export const projectsQuery = queryOptions({
  queryKey: ['projects'],
  queryFn: async () => (await answer(api.rest.GET('/v1/projects'))).items,
});

export const summaryQuery = (project: string) =>
  queryOptions({
    queryKey: ['summary', project],
    queryFn: async () =>
      (await answer(api.rest.GET('/v1/projects/{project}/summary', { params: { path: { project } } })))
        .instances,
  });

export const hostsQuery = queryOptions({
  queryKey: ['hosts'],
  queryFn: async () => (await answer(api.rest.GET('/v1/hosts'))).items,
});

export const instancesQuery = (project: string, filter: InstanceFilter) =>
  infiniteQueryOptions({
    queryKey: ['instances', project, filter],
    queryFn: ({ pageParam }) => {
      const given = Object.fromEntries(Object.entries(filter).filter(([, v]) => v !== undefined && v !== ''));
      const query = { ...given, limit: pageSize, ...(pageParam === null ? {} : { cursor: pageParam }) };
      return answer(
        api.rest.GET('/v1/projects/{project}/instances', { params: { path: { project }, query } }),
      );
    },
    initialPageParam: null as string | null,
    getNextPageParam: (page) => page.nextCursor,
    placeholderData: keepPreviousData,
  });

/** Names of a project's instances to choose from; of very many the first. */
export const namesQuery = (project: string) =>
  queryOptions({
    queryKey: ['instances', project, 'names'],
    queryFn: async () => {
      const params = { path: { project }, query: { limit: 500 } };
      const { items } = await answer(api.rest.GET('/v1/projects/{project}/instances', { params }));
      return items.map(({ name }) => name);
    },
  });

export const instanceQuery = (project: string, name: string) =>
  queryOptions({
    queryKey: ['instance', project, name],
    queryFn: () =>
      answer(
        api.rest.GET('/v1/projects/{project}/instances/{name}', { params: { path: { project, name } } }),
      ),
  });

export const decisionsQuery = (project: string, name: string) =>
  queryOptions({
    queryKey: ['decisions', project, name],
    queryFn: async () =>
      (
        await answer(
          api.rest.GET('/v1/projects/{project}/instances/{name}/decisions', {
            params: { path: { project, name }, query: { limit: 20 } },
          }),
        )
      ).items,
  });

/** Of one instance, the oldest first. */
export const snapshotsQuery = (project: string, name: string) =>
  queryOptions({
    queryKey: ['snapshots', project, name],
    queryFn: async () =>
      (
        await answer(
          api.rest.GET('/v1/projects/{project}/instances/{name}/snapshots', {
            params: { path: { project, name } },
          }),
        )
      ).items,
  });

/** All that the ledger still has of one object, oldest first. */
export const eventsQuery = (objectId: string) =>
  queryOptions({
    queryKey: ['events', objectId],
    queryFn: async () => (await api.eventList({ objectId, limit: 1000 })).items,
  });

export const registriesQuery = (project: string) =>
  queryOptions({
    queryKey: ['registries', project],
    queryFn: async () =>
      (await answer(api.rest.GET('/v1/projects/{project}/registries', { params: { path: { project } } })))
        .items,
  });

/** What is known of a project's secrets; their values are told to nobody. */
export const secretsQuery = (project: string) =>
  queryOptions({
    queryKey: ['secrets', project],
    queryFn: async () =>
      (await answer(api.rest.GET('/v1/projects/{project}/secrets', { params: { path: { project } } }))).items,
  });

export const imagesQuery = (project: string) =>
  queryOptions({
    queryKey: ['images', project],
    queryFn: () =>
      everyPage((query) =>
        answer(
          api.rest.GET('/v1/projects/{project}/images', {
            params: { path: { project }, query: { ...query, limit: 500 } },
          }),
        ),
      ),
  });

export const networksQuery = (project: string) =>
  queryOptions({
    queryKey: ['networks', project],
    queryFn: async () =>
      (await answer(api.rest.GET('/v1/projects/{project}/networks', { params: { path: { project } } })))
        .items,
  });

export const volumesQuery = (project: string) =>
  queryOptions({
    queryKey: ['volumes', project],
    queryFn: async () =>
      (await answer(api.rest.GET('/v1/projects/{project}/volumes', { params: { path: { project } } }))).items,
  });

export const operationQuery = (id: string) =>
  queryOptions({
    queryKey: ['operation', id],
    queryFn: () => answer(api.rest.GET('/v1/operations/{id}', { params: { path: { id } } })),
  });

export const operationsQuery = (project: string, state: string | undefined) =>
  infiniteQueryOptions({
    queryKey: ['operations', project, state ?? ''],
    queryFn: ({ pageParam }) =>
      answer(
        api.rest.GET('/v1/operations', {
          params: {
            query: {
              project,
              limit: pageSize,
              ...(state === undefined ? {} : { state: state as 'running' }),
              ...(pageParam === null ? {} : { cursor: pageParam }),
            },
          },
        }),
      ),
    initialPageParam: null as string | null,
    getNextPageParam: (page) => page.nextCursor,
    placeholderData: keepPreviousData,
  });

/** From one look at imports under way to the next: their progress is no event. */
const importsEveryMs = 1000;
/** What failed is shown for so long. */
const failedShownMs = 600_000;

/** Imports of images that are under way, and those that failed in the last minutes; newest first. */
export const importsQuery = (project: string) =>
  queryOptions({
    queryKey: ['operations', project, 'imports'],
    queryFn: async () => {
      const { items } = await answer(
        api.rest.GET('/v1/operations', { params: { query: { project, limit: pageSize } } }),
      );
      return items.filter(
        (o) =>
          (o.kind === 'imageImport' || o.kind === 'imageCommit') &&
          (o.finishedAt === null ||
            (o.state === 'failed' && Date.now() - Date.parse(o.finishedAt) < failedShownMs)),
      );
    },
    refetchInterval: (query) =>
      query.state.data?.some((o) => o.finishedAt === null) === true ? importsEveryMs : false,
  });

export const tokensQuery = queryOptions({
  queryKey: ['tokens'],
  queryFn: async () => (await answer(api.rest.GET('/v1/tokens'))).items,
});

/** Histories move with time and not with events: measured every 15 seconds on the hosts. */
const metricsEveryMs = 30_000;

export const instanceMetricsQuery = (project: string, name: string) =>
  queryOptions({
    queryKey: ['metrics', 'instance', project, name],
    queryFn: () =>
      answer(
        api.rest.GET('/v1/projects/{project}/instances/{name}/metrics', {
          params: { path: { project, name } },
        }),
      ),
    refetchInterval: metricsEveryMs,
  });

export const hostMetricsQuery = (host: string) =>
  queryOptions({
    queryKey: ['metrics', 'host', host],
    queryFn: () => answer(api.rest.GET('/v1/hosts/{host}/metrics', { params: { path: { host } } })),
    refetchInterval: metricsEveryMs,
  });
