import { Button, Checkbox, TextInput } from '@mantine/core';
import { answer } from '@berth/client';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { useState, type FormEvent } from 'react';
import { api, type Instance, type Snapshot } from '../api/client.js';
import { fieldSaid, said } from '../api/problem.js';
import { snapshotsQuery } from '../api/queries.js';
import { covers, sessionQuery } from '../api/session.js';
import { ActionsHead } from '../parts/actions-head.js';
import { mib } from '../parts/format.js';
import { Empty, Failure, Waiting } from '../parts/notices.js';
import { Panel } from '../parts/page.js';
import { State } from '../parts/state.js';
import { Confirmed } from '../parts/confirm.js';
import { Time } from '../parts/time.js';

const all = '/v1/projects/{project}/instances/{name}/snapshots';
const one = '/v1/projects/{project}/instances/{name}/snapshots/{snapshot}';

/** What can be relied on, in words. */
const relied: Readonly<Record<NonNullable<Snapshot['consistency']>, string>> = {
  exact: 'with its memory',
  application: 'file systems frozen by its agent',
  filesystem: 'it had shut down',
  crash: 'as after a power cut',
};

/** The disks of a machine as they were: list, take, bring back, delete. */
export function Snapshots({ instance }: { instance: Instance }) {
  const { project, name } = instance;
  const operator = covers(useQuery(sessionQuery).data, 'operator');
  const { data, error, refetch } = useQuery(snapshotsQuery(project, name));
  return (
    <div className="stack">
      {operator && <Take instance={instance} />}
      {error !== null && <Failure error={error} retry={() => void refetch()} />}
      {data === undefined && error === null && <Waiting rows={3} />}
      {data?.length === 0 && (
        <Empty title="No snapshots yet">
          <p className="flat">
            A snapshot keeps all disks as they are at one moment. The machine may run meanwhile.
          </p>
        </Empty>
      )}
      {data !== undefined && data.length > 0 && (
        <table className="list">
          <thead>
            <tr>
              <th scope="col">Name</th>
              <th scope="col">State</th>
              <th scope="col" className="from-m">
                To rely on
              </th>
              <th scope="col" className="from-l">
                Disks
              </th>
              <th scope="col" className="num from-m">
                Room
              </th>
              <th scope="col">Taken</th>
              {operator && <ActionsHead />}
            </tr>
          </thead>
          <tbody>
            {data.map((snapshot) => (
              <tr key={snapshot.id}>
                <td className="main-cell">{snapshot.name}</td>
                <td>
                  <State state={snapshot.state} />
                </td>
                <td className="from-m" title={snapshot.indications.join('; ')}>
                  {snapshot.consistency === null ? (
                    <span className="dim">not taken yet</span>
                  ) : (
                    <>
                      {snapshot.consistency} <span className="dim">{relied[snapshot.consistency]}</span>
                    </>
                  )}
                </td>
                <td className="from-l anywhere">{snapshot.disks.map((d) => d.volume).join(', ')}</td>
                <td className="num nowrap from-m">{mib(snapshot.bookedMiB)}</td>
                <td className="dim nowrap">
                  <Time at={snapshot.takenAt ?? snapshot.createdAt} />
                </td>
                {operator && (
                  <td className="actions-cell">
                    <Revert instance={instance} snapshot={snapshot} />
                    <Remove instance={instance} snapshot={snapshot} />
                  </td>
                )}
              </tr>
            ))}
          </tbody>
        </table>
      )}
    </div>
  );
}

/** Asks for something of snapshots, and reads them again when that is written down. */
function useAsk<T>({ project, name }: Instance, ask: (given: T) => Promise<unknown>) {
  const client = useQueryClient();
  return useMutation({
    mutationFn: ask,
    onSuccess: () => client.invalidateQueries({ queryKey: snapshotsQuery(project, name).queryKey }),
  });
}

function Take({ instance }: { instance: Instance }) {
  const { project, name } = instance;
  const [wanted, setWanted] = useState('');
  const [memory, setMemory] = useState(false);
  const runs = instance.status.state === 'running';
  const take = useAsk(instance, (snapshot: string) =>
    answer(
      api.rest.POST(all, {
        params: { path: { project, name } },
        body: { name: snapshot, memory: memory && runs },
      }),
    ),
  );
  const submit = (event: FormEvent): void => {
    event.preventDefault();
    take.mutate(wanted, { onSuccess: () => setWanted('') });
  };
  return (
    <Panel title="Take a snapshot" className="upload">
      <form onSubmit={submit} className="upload-form">
        <TextInput
          aria-label="Name of the snapshot"
          placeholder="Name"
          value={wanted}
          error={fieldSaid(said(take.error).fields, '/name')}
          onChange={(e) => setWanted(e.currentTarget.value)}
          autoComplete="off"
          spellCheck={false}
        />
        <Checkbox
          label="With its memory"
          title={
            runs
              ? 'It stands still for a moment, and a revert goes on from there'
              : 'There is memory only while it runs'
          }
          checked={memory && runs}
          disabled={!runs}
          onChange={(e) => setMemory(e.currentTarget.checked)}
        />
        <Button type="submit" disabled={wanted === ''} loading={take.isPending}>
          Take it
        </Button>
      </form>
      {take.isError && <Failure error={take.error} />}
    </Panel>
  );
}

interface OfSnapshot {
  readonly instance: Instance;
  readonly snapshot: Snapshot;
}

function Revert({ instance, snapshot }: OfSnapshot) {
  const path = { project: instance.project, name: instance.name, snapshot: snapshot.name };
  const revert = useAsk<void>(instance, () =>
    answer(api.rest.POST(`${one}/actions/revert`, { params: { path } })),
  );
  const stopped = ['stopped', 'error'].includes(instance.status.state);
  return (
    <Confirmed
      act={revert}
      icon="restart"
      verb="Revert"
      label={`Revert to ${snapshot.name}`}
      title={`Revert ${instance.name} to ${snapshot.name}?`}
      name={snapshot.name}
      disabled={!stopped || snapshot.state !== 'ready'}
      hint={stopped ? 'Revert' : 'Stop the instance first'}
    >
      <p className="flat">
        {snapshot.memory
          ? 'Its disks and its memory are brought back as they were, and it goes on from there. What it has done since is lost.'
          : 'Its disks are brought back as they were. What it has written since is lost.'}
      </p>
    </Confirmed>
  );
}

function Remove({ instance, snapshot }: OfSnapshot) {
  const path = { project: instance.project, name: instance.name, snapshot: snapshot.name };
  const remove = useAsk<void>(instance, () => answer(api.rest.DELETE(one, { params: { path } })));
  return (
    <Confirmed
      act={remove}
      icon="trash"
      verb="Delete"
      label={`Delete ${snapshot.name}`}
      title={`Delete snapshot ${snapshot.name}?`}
      name={snapshot.name}
      disabled={snapshot.state === 'deleting' || snapshot.state === 'reverting'}
    >
      <p className="flat">The disks stay as they are. What only the snapshot holds is lost.</p>
    </Confirmed>
  );
}
