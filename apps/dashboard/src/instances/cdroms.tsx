import { Button, Checkbox, NativeSelect } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
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
    <Panel title="CD-ROM drives">
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
  const isos = (images.data ?? []).filter((i) => i.kind === 'iso').map((i) => i.name);
  const media = [...new Set([...(wanted === '' ? [] : [wanted]), ...isos])];
  const image = chosen ?? wanted;
  return (
    <div>
      <p className="flat">
        Drive {drive}: {seenText(instance, drive)}
      </p>
      {operator && (
        <form
          className="upload-form"
          onSubmit={(event) => {
            event.preventDefault();
            medium.mutate({ drive, image, force }, { onSuccess: () => setChosen(null) });
          }}
        >
          <NativeSelect
            aria-label={`Medium of drive ${drive}`}
            value={image}
            onChange={(e) => setChosen(e.currentTarget.value)}
            data={[{ value: '', label: 'Empty' }, ...media]}
            disabled={medium.isPending}
          />
          <Checkbox
            label="Also if its guest has locked it"
            checked={force}
            onChange={(e) => setForce(e.currentTarget.checked)}
            disabled={medium.isPending}
          />
          <Button type="submit" variant="default" disabled={image === wanted} loading={medium.isPending}>
            Change
          </Button>
        </form>
      )}
      {medium.isError && <Failure error={medium.error} />}
    </div>
  );
}

function seenText({ spec, status }: Instance, drive: number): string {
  const seen = status.cdroms[drive];
  if (seen === undefined) {
    const image = spec.cdroms?.[drive]?.image;
    return image === undefined ? 'empty at the next start' : `${image} at the next start`;
  }
  const medium = seen.digest === null ? 'empty' : (seen.image ?? 'an image that was deleted');
  return `${medium}${seen.trayOpen ? ', its tray is open' : ''}${seen.locked ? ', locked by its guest' : ''}`;
}
