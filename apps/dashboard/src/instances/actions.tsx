import type { Instance } from '../api/client.js';
import { ActButton } from '../parts/act-button.js';
import { Confirmed } from '../parts/confirm.js';
import { mib } from '../parts/format.js';
import type { IconName } from '../parts/icons.js';
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
  const { name, spec } = instance;
  const busy = act.isPending || remove.isPending;
  const inRow = (verb: string) => (small ? { label: `${verb} ${name}` } : {});
  return (
    <div className="actions">
      {verbsFor(instance).map((verb) => (
        <ActButton
          key={verb}
          {...inRow(capital(verb))}
          icon={icons[verb]}
          verb={capital(verb)}
          loading={act.isPending && act.variables === verb}
          disabled={busy}
          onClick={() => act.mutate(verb)}
        />
      ))}
      {!small && <ForceStop instance={instance} disabled={busy} />}
      {!small && <Reset instance={instance} disabled={busy} />}
      {!small && <Rebuild instance={instance} disabled={busy} />}
      {instance.status.state !== 'deleting' && (
        <Confirmed
          {...inRow('Delete')}
          {...{ name, act: remove }}
          icon="trash"
          verb="Delete"
          className="danger"
          disabled={busy}
          title={`Delete ${name}?`}
        >
          <p className="flat">
            It is stopped, and its {spec.isolation === 'vm' ? 'root disk' : 'writable layer'} of{' '}
            {mib(spec.rootDisk.sizeMiB)} is deleted with it. This cannot be undone.
            {spec.volumes.length > 0 &&
              ` Its data volumes stay: ${spec.volumes.map((v) => v.name).join(', ')}.`}
          </p>
        </Confirmed>
      )}
      {act.isError && (
        <div className="actions-error">
          <Failure error={act.error} />
        </div>
      )}
    </div>
  );
}
