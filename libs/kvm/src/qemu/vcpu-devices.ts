import { PLUGGED } from '../driver/vcpu-plug.js';
import { vcpuDevice } from '../machine/machine-spec.js';
import type { ExecuteOptions, QmpExecutor } from '../qmp/commands.js';

/**
 * Gives a machine of our own so many virtual processors: the lowest places are taken first, the highest left first, so that how
 * many says which. A guest lets go of one when it has moved its work (ACPI eject); one that was asked already is asked again.
 */
export async function plugVcpus(qmp: QmpExecutor, vcpus: number, bounds: ExecuteOptions): Promise<void> {
  const places = [...(await qmp.execute('query-hotpluggable-cpus', undefined, bounds))].sort(
    (a, b) => placeOf(a) - placeOf(b),
  );
  for (const place of places.slice(0, vcpus)) {
    if (place['qom-path'] !== undefined) continue;
    const at = { driver: place.type, id: vcpuDevice(placeOf(place)), ...place.props };
    await qmp.execute('device_add', at, bounds);
  }
  for (const place of places.slice(vcpus).reverse()) {
    const path = place['qom-path'];
    if (path !== undefined && PLUGGED.test(path))
      await qmp.execute('device_del', { id: path.replace(PLUGGED, '') }, bounds);
  }
}

/** One thread of one core in one socket each: see the machine's arguments. */
const placeOf = ({ props }: { readonly props: { readonly 'core-id'?: number | undefined } }): number =>
  props['core-id'] ?? 0;
