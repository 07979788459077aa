import type { Instance } from '../api/client.js';
import { Confirmed } from '../parts/confirm.js';
import { useForceStop } from './act.js';

/** For a guest that takes long to end by itself, or never will. */
export function ForceStop({ instance, disabled }: { instance: Instance; disabled: boolean }) {
  const act = useForceStop(instance);
  const { name, status } = instance;
  if (status.state !== 'stopping') return null;
  return (
    <Confirmed
      {...{ name, disabled, act }}
      title={`Force ${name} to stop?`}
      verb="Force stop"
      icon="stop"
      className="danger"
    >
      <p className="flat">
        Its guest was asked to end, and is given no more time for that. What it has not written to its disk is
        lost, as with a power cut.
      </p>
    </Confirmed>
  );
}
