import { cgroupChildren } from '@berth/linux';
import { InstanceId } from '@berth/model';
import type { WorkloadKey } from '@berth/runtime';

/** The cgroups of epochs that were made here as `<prefix><instance>.<epoch>`, below the root of each tree. */
export async function ownGroups(
  prefix: string,
): Promise<{ readonly key: WorkloadKey; readonly name: string }[]> {
  return (await cgroupChildren(null)).flatMap((name) => {
    const [instance, epoch] = name.startsWith(prefix) ? name.slice(prefix.length).split('.') : [];
    const instanceId = InstanceId.safeParse(instance).data;
    return instanceId === undefined ? [] : [{ key: { instanceId, epoch: Number(epoch) }, name }];
  });
}
