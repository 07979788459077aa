import { Button } from '@mantine/core';
import { useState } from 'react';
import type { Instance } from '../api/client.js';
import { ConfirmByName } from '../parts/confirm.js';
import { Icon, type IconName } from '../parts/icons.js';
import { Failure } from '../parts/notices.js';
import { useAct, useDelete } from './act.js';
import { ForceStop } from './force-stop.js';
import { Rebuild } from './rebuild.js';
import { Reset } from './reset.js';
import { verbsFor, type Verb } from './verbs.js';

const icons: Readonly<Record<Verb, IconName>> = {
  start: 'play',
  stop: 'stop',
  restart: 'restart',
  pause: 'pause',
  resume: 'play',
  suspend: 'moon',
};
const capital = (verb: string): string => verb.charAt(0).toUpperCase() + verb.slice(1);

/** The verbs of one instance as buttons; in a row of a list they are small and without words. */
export function Actions({ instance, small = false }: { instance: Instance; small?: boolean }) {
  const act = useAct(instance);
  const remove = useDelete(instance);
  const [confirming, setConfirming] = useState(false);
  const { name } = instance;
  const busy = act.isPending || remove.isPending;
  return (
    <div className="actions">
      {verbsFor(instance).map((verb) =>
        small ? (
          <button
            key={verb}
            type="button"
            className="icon-button"
            disabled={busy}
            aria-label={`${capital(verb)} ${name}`}
            title={capital(verb)}
            onClick={() => act.mutate(verb)}
          >
            <Icon name={icons[verb]} />
          </button>
        ) : (
          <Button
            key={verb}
            size="xs"
            variant="default"
            leftSection={<Icon name={icons[verb]} />}
            loading={act.isPending && act.variables === verb}
            disabled={busy}
            onClick={() => act.mutate(verb)}
          >
            {capital(verb)}
          </Button>
        ),
      )}
      {!small && <ForceStop instance={instance} disabled={busy} />}
      {!small && <Reset instance={instance} disabled={busy} />}
      {!small && <Rebuild instance={instance} disabled={busy} />}
      {instance.status.state !== 'deleting' &&
        (small ? (
          <button
            type="button"
            className="icon-button"
            disabled={busy}
            aria-label={`Delete ${name}`}
            title="Delete"
            onClick={() => setConfirming(true)}
          >
            <Icon name="trash" />
          </button>
        ) : (
          <Button
            size="xs"
            variant="default"
            className="danger"
            leftSection={<Icon name="trash" />}
            loading={remove.isPending}
            disabled={busy}
            onClick={() => setConfirming(true)}
          >
            Delete
          </Button>
        ))}
      <ConfirmByName
        opened={confirming}
        title={`Delete ${name}?`}
        name={name}
        verb="Delete"
        pending={remove.isPending}
        error={remove.error}
        onClose={() => setConfirming(false)}
        onConfirm={() => remove.mutate(undefined, { onSuccess: () => setConfirming(false) })}
      >
        <p className="flat">
          It is stopped, and its root disk of {instance.spec.rootDisk.sizeMiB} MiB is deleted with it. This
          cannot be undone.
        </p>
      </ConfirmByName>
      {act.isError && (
        <div className="actions-error">
          <Failure error={act.error} />
        </div>
      )}
    </div>
  );
}
