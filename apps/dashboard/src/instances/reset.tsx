import type { Instance } from '../api/client.js';
import { useReset } from './act.js';
import { Confirmed } from './confirmed.js';

/** The reset button of a machine that runs. */
export function Reset({ instance, disabled }: { instance: Instance; disabled: boolean }) {
  const reset = useReset(instance);
  const { name, spec, status } = instance;
  if (spec.isolation !== 'vm' || status.state !== 'running') return null;
  return (
    <Confirmed {...{ name, disabled }} title={`Reset ${name}?`} verb="Reset" icon="power" doing={reset}>
      Its guest is not asked and boots anew at once. What it has not written to its disk is lost, as with a
      power cut. Restart asks it first.
    </Confirmed>
  );
}
