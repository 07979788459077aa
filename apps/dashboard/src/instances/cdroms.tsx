import { Button, Checkbox, NativeSelect } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { Link } from '@tanstack/react-router';
import { useState } from 'react';
import type { Instance } from '../api/client.js';
import { imagesQuery } from '../api/queries.js';
import { covers, sessionQuery } from '../api/session.js';
import { Failure } from '../parts/notices.js';
import { Panel } from '../parts/page.js';
import { useMedium } from './act.js';

/** What is in each drive of a machine, and putting something else into it. */
export function Cdroms({ instance }: { instance: Instance }) {
  const drives = instance.spec.cdroms ?? [];
  if (drives.length === 0) return null;
  return (
    <Panel title="CD-ROM drives" className="wide-panel">
      <div className="stack">
        {drives.map((_, drive) => (
          <Drive key={drive} instance={instance} drive={drive} />
        ))}
      </div>
    </Panel>
  );
}

function Drive({ instance, drive }: { instance: Instance; drive: number }) {
  const { project, spec } = instance;
  const wanted = spec.cdroms?.[drive]?.image ?? '';
  const operator = covers(useQuery(sessionQuery).data, 'operator');
  const images = useQuery({ ...imagesQuery(project), enabled: operator });
  const [chosen, setChosen] = useState<string | null>(null);
  const [force, setForce] = useState(false);
  const medium = useMedium(instance);
  const changed = (): void => {
    setChosen(null);
    setForce(false);
  };
  const isos = (images.data ?? []).filter((i) => i.kind === 'iso').map((i) => i.name);
  const media = [...new Set([...(wanted === '' ? [] : [wanted]), ...isos])];
  const image = chosen ?? wanted;
  const seen = instance.status.cdroms[drive];
  const inIt = seen !== undefined && seen.digest !== null;
  // A guest that has locked its drive keeps what is in it, until it is taken by force.
  const kept = inIt && seen.image !== (wanted === '' ? null : wanted);
  const changes = image !== wanted || (kept && force);
  return (
    <div>
      <p className="flat">
        Drive {drive}: {seenText(instance, drive)}
      </p>
      {operator && (
        <form
          className="upload-form drive"
          onSubmit={(event) => {
            event.preventDefault();
            medium.mutate({ drive, image, force }, { onSuccess: changed });
          }}
        >
          <NativeSelect
            aria-label={`Medium of drive ${drive}`}
            value={image}
            onChange={(e) => setChosen(e.currentTarget.value)}
            data={[{ value: '', label: 'nothing' }, ...media]}
            disabled={medium.isPending}
          />
          <Button type="submit" variant="default" disabled={!changes} loading={medium.isPending}>
            {!changes ? 'Change' : image === '' ? 'Take it out' : 'Put it in'}
          </Button>
          {inIt && (image !== wanted || kept) && (
            <Checkbox
              label="Even if its guest has locked the drive: what reads it in there fails then"
              checked={force}
              onChange={(e) => setForce(e.currentTarget.checked)}
              disabled={medium.isPending}
            />
          )}
          {isos.length === 0 && (
            <p className="flat dim small">
              The project has no iso image:{' '}
              <Link to="/p/$project/images" params={{ project }}>
                upload or import one
              </Link>
            </p>
          )}
        </form>
      )}
      {medium.isError && <Failure error={medium.error} />}
    </div>
  );
}

/** What is in a drive, by its host's word, and what is on its way into it. */
function seenText({ spec, status }: Instance, drive: number): string {
  const seen = status.cdroms[drive];
  const wanted = spec.cdroms?.[drive]?.image ?? null;
  if (seen === undefined) return wanted === null ? 'empty at the next start' : `${wanted} at the next start`;
  const there = seen.digest === null ? null : (seen.image ?? 'an image that was deleted');
  return [
    there ?? 'empty',
    ...(seen.trayOpen ? ['its tray is open'] : []),
    ...(seen.locked ? ['locked by its guest'] : []),
    ...(wanted === there ? [] : [wanted === null ? 'is being taken out' : `${wanted} is on its way`]),
  ].join(', ');
}
