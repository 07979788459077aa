import type { Instance } from '../api/client.js';
import { useForceStop } from './act.js';
import { Confirmed } from './confirmed.js';

/** For a guest that takes long to end by itself, or never will. */
export function ForceStop({ instance, disabled }: { instance: Instance; disabled: boolean }) {
  const force = useForceStop(instance);
  const { name, status } = instance;
  if (status.state !== 'stopping') return null;
  const title = `Force ${name} to stop?`;
  return (
    <Confirmed {...{ name, title, disabled }} verb="Force stop" icon="stop" className="danger" doing={force}>
      Its guest was asked to end, and is given no more time for that. What it has not written to its disk is
      lost, as with a power cut.
    </Confirmed>
  );
}
