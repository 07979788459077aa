import { Button, NativeSelect } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import type { Instance } from '../api/client.js';
import { imagesQuery } from '../api/queries.js';
import { ConfirmByName } from '../parts/confirm.js';
import { Icon } from '../parts/icons.js';
import { useRebuild } from './act.js';
import { kindFor } from './form.js';

/** A new root disk, of the same image or another. What is suspended, or about to be something else, cannot have one now. */
export function Rebuild({ instance, disabled }: { instance: Instance; disabled: boolean }) {
  const rebuild = useRebuild(instance);
  const [confirming, setConfirming] = useState(false);
  const { name, spec, status, project } = instance;
  const [image, setImage] = useState(spec.image);
  const images = useQuery({ ...imagesQuery(project), enabled: confirming });
  if (!['running', 'paused', 'stopped', 'error'].includes(status.state)) return null;
  const suited = (images.data ?? []).filter((i) => i.kind === kindFor(spec.isolation)).map((i) => i.name);
  return (
    <>
      <Button
        size="xs"
        variant="default"
        leftSection={<Icon name="images" />}
        loading={rebuild.isPending}
        disabled={disabled}
        onClick={() => {
          setImage(spec.image);
          setConfirming(true);
        }}
      >
        Rebuild
      </Button>
      <ConfirmByName
        opened={confirming}
        title={`Rebuild ${name}?`}
        name={name}
        verb="Rebuild"
        pending={rebuild.isPending}
        error={rebuild.error}
        onClose={() => setConfirming(false)}
        onConfirm={() => rebuild.mutate(image, { onSuccess: () => setConfirming(false) })}
      >
        <p className="flat">
          It gets a new root disk, and what is on the one it has is lost. Its addresses and data volumes stay.
        </p>
        <NativeSelect
          label="Image"
          value={image}
          onChange={(e) => setImage(e.currentTarget.value)}
          data={[...new Set([spec.image, ...suited])]}
        />
      </ConfirmByName>
    </>
  );
}
