import type { Instance } from '../api/client.js';
import { Confirmed } from '../parts/confirm.js';
import { useReset } from './act.js';

/** The reset button of a machine that runs. */
export function Reset({ instance, disabled }: { instance: Instance; disabled: boolean }) {
  const act = useReset(instance);
  const { name, spec, status } = instance;
  if (spec.isolation !== 'vm' || status.state !== 'running') return null;
  return (
    <Confirmed {...{ name, disabled, act }} title={`Reset ${name}?`} verb="Reset" icon="power">
      <p className="flat">
        Its guest is not asked and boots anew at once. What it has not written to its disk is lost, as with a
        power cut. Restart asks it first.
      </p>
    </Confirmed>
  );
}
