import { secretPath } from '@berth/model';
import { Link } from '@tanstack/react-router';
import type { ReactNode } from 'react';
import type { Instance } from '../api/client.js';
import { cpus, mib, shortDigest } from '../parts/format.js';
import { Facts, Panel } from '../parts/page.js';
import { Time } from '../parts/time.js';
import { resourcesOf } from './resources.js';
import { cpuMillisOf } from './size.js';

type Spec = Instance['spec'];
type Fact = readonly [name: string, value: ReactNode];

/** What its users want of an instance. */
export function Asked({ instance }: { instance: Instance }) {
  const { spec, project } = instance;
  return (
    <Panel title="Asked for">
      <Facts
        facts={[
          [
            'Image',
            <span key="i">
              {spec.image}{' '}
              <span className="dim mono" title={instance.imageDigest}>
                {shortDigest(instance.imageDigest)}
              </span>
            </span>,
          ],
          ['Size', `${processorsOf(spec)}, ${memoryOf(spec)}, ${mib(spec.rootDisk.sizeMiB)} disk`],
          ...(resourcesOf(spec) === '' ? [] : [['Resources', resourcesOf(spec)] as const]),
          ['Wanted', spec.desired],
          ...(spec.system === true ? [['System', 'an init of its image’s runs in it'] as const] : []),
          ...spec.volumes.map((v): Fact => [`Volume ${v.name}`, volumePlace(v)]),
          ...(spec.secrets ?? []).map((use): Fact => [`Secret ${use.name}`, secretPlaces(use)]),
          ...((spec.devices ?? []).length === 0
            ? []
            : [['Devices', (spec.devices ?? []).join(', ')] as const]),
          ...(spec.hostPaths ?? []).map((use): Fact => [`Host path ${use.name}`, hostPathPlace(use)]),
          ...(spec.dependsOn ?? []).map(({ instance: on, condition }): Fact => [
            'Starts after',
            <span key={on}>
              <Link to="/p/$project/instances/$name" params={{ project, name: on }}>
                {on}
              </Link>{' '}
              is {condition}
            </span>,
          ]),
          ...probesOf(spec.probes ?? {}),
          [
            'When it ends',
            spec.restart.policy === 'never'
              ? 'left ended'
              : `restarted ${spec.restart.policy === 'always' ? 'always' : 'on failure'}`,
          ],
          [
            'Labels',
            Object.entries(instance.labels).map(([k, v]) => (
              <span className="chip" key={k}>
                {k}={v}
              </span>
            )),
          ],
          ['Created', <Time key="c" at={instance.createdAt} />],
        ]}
      />
    </Panel>
  );
}

const processorsOf = (spec: Spec): string =>
  `${cpus(cpuMillisOf(spec))}${spec.maxVcpus === undefined ? '' : ` (at most ${spec.maxVcpus})`}`;
const memoryOf = ({ memoryMiB, maxMemoryMiB }: Spec): string =>
  `${mib(memoryMiB)} memory${maxMemoryMiB === undefined ? '' : ` (at most ${mib(maxMemoryMiB)})`}`;

/** Where a container has it: a file, a variable, or both. */
const secretPlaces = (use: NonNullable<Spec['secrets']>[number]): string =>
  [secretPath(use), use.env === undefined ? null : `$${use.env}`]
    .filter((place) => place !== null)
    .join(', ');

const volumePlace = ({ path, readOnly }: Spec['volumes'][number]): string =>
  `${path ?? 'a disk of its'}${readOnly === true ? ', read-only' : ''}`;

const hostPathPlace = ({ subPath, path, readOnly }: NonNullable<Spec['hostPaths']>[number]): string =>
  `${subPath === undefined ? '' : `${subPath} at `}${path}${readOnly ? ', read-only' : ''}`;

const words = {
  startup: 'Start-up probe',
  readiness: 'Readiness probe',
  liveness: 'Liveness probe',
} as const;

/** What its host asks it, and how often. */
function probesOf(probes: NonNullable<Spec['probes']>): Fact[] {
  return (['startup', 'readiness', 'liveness'] as const).flatMap((kind): Fact[] => {
    const probe = probes[kind];
    if (probe === undefined) return [];
    const asked =
      probe.exec !== undefined
        ? probe.exec.command.join(' ')
        : probe.http !== undefined
          ? `GET ${probe.http.path} of port ${probe.http.port}`
          : `a connection to port ${probe.tcp?.port ?? ''}`;
    return [[words[kind], `${asked}, every ${probe.intervalSeconds} s`]];
  });
}
