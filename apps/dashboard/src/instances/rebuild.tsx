import { NativeSelect } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import type { Instance } from '../api/client.js';
import { imagesQuery } from '../api/queries.js';
import { Confirmed } from '../parts/confirm.js';
import { useRebuild } from './act.js';
import { kindFor } from './form.js';

/** A new root disk, of the same image or another. What is suspended, or about to be something else, cannot have one now. */
export function Rebuild({ instance, disabled }: { instance: Instance; disabled: boolean }) {
  const act = useRebuild(instance);
  const { name, spec, status, project } = instance;
  const [image, setImage] = useState<string | null>(null);
  const images = useQuery({ ...imagesQuery(project), enabled: image !== null });
  if (!['running', 'paused', 'stopped', 'error'].includes(status.state)) return null;
  const suited = (images.data ?? []).filter((i) => i.kind === kindFor(spec.isolation)).map((i) => i.name);
  return (
    <Confirmed
      {...{ name, disabled, act }}
      given={image ?? spec.image}
      onOpen={() => setImage(spec.image)}
      title={`Rebuild ${name}?`}
      verb="Rebuild"
      icon="images"
    >
      <p className="flat">
        It gets a new root disk, and what is on the one it has is lost. Its addresses and data volumes stay.
      </p>
      <NativeSelect
        label="Image"
        value={image ?? spec.image}
        onChange={(e) => setImage(e.currentTarget.value)}
        data={[...new Set([spec.image, ...suited])]}
      />
    </Confirmed>
  );
}
