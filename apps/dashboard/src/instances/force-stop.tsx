import { Button } from '@mantine/core';
import { useState } from 'react';
import type { Instance } from '../api/client.js';
import { ConfirmByName } from '../parts/confirm.js';
import { Icon } from '../parts/icons.js';
import { useForceStop } from './act.js';

/** For a guest that takes long to end by itself, or never will. */
export function ForceStop({ instance, disabled }: { instance: Instance; disabled: boolean }) {
  const force = useForceStop(instance);
  const [confirming, setConfirming] = useState(false);
  const { name, status } = instance;
  if (status.state !== 'stopping') return null;
  return (
    <>
      <Button
        size="xs"
        variant="default"
        className="danger"
        leftSection={<Icon name="stop" />}
        loading={force.isPending}
        disabled={disabled}
        onClick={() => setConfirming(true)}
      >
        Force stop
      </Button>
      <ConfirmByName
        opened={confirming}
        title={`Force ${name} to stop?`}
        name={name}
        verb="Force stop"
        pending={force.isPending}
        error={force.error}
        onClose={() => setConfirming(false)}
        onConfirm={() => force.mutate(undefined, { onSuccess: () => setConfirming(false) })}
      >
        <p className="flat">
          Its guest was asked to end, and is given no more time for that. What it has not written to its disk
          is lost, as with a power cut.
        </p>
      </ConfirmByName>
    </>
  );
}
