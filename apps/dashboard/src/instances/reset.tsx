import { Button } from '@mantine/core';
import { useState } from 'react';
import type { Instance } from '../api/client.js';
import { ConfirmByName } from '../parts/confirm.js';
import { Icon } from '../parts/icons.js';
import { useReset } from './act.js';

/** The reset button of a machine that runs. */
export function Reset({ instance, disabled }: { instance: Instance; disabled: boolean }) {
  const reset = useReset(instance);
  const [confirming, setConfirming] = useState(false);
  const { name, spec, status } = instance;
  if (spec.isolation !== 'vm' || status.state !== 'running') return null;
  return (
    <>
      <Button
        size="xs"
        variant="default"
        leftSection={<Icon name="power" />}
        loading={reset.isPending}
        disabled={disabled}
        onClick={() => setConfirming(true)}
      >
        Reset
      </Button>
      <ConfirmByName
        opened={confirming}
        title={`Reset ${name}?`}
        name={name}
        verb="Reset"
        pending={reset.isPending}
        error={reset.error}
        onClose={() => setConfirming(false)}
        onConfirm={() => reset.mutate(undefined, { onSuccess: () => setConfirming(false) })}
      >
        <p className="flat">
          Its guest is not asked and boots anew at once. What it has not written to its disk is lost, as with
          a power cut. Restart asks it first.
        </p>
      </ConfirmByName>
    </>
  );
}
