import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';

/** Where libvirt's QEMU driver, or virtlogd for it, writes what QEMU says: `<domain>.log`, and `.log.0` … of before. */
const DIRECTORY = '/var/log/libvirt/qemu';

/** Takes away what QEMU said for a domain that is gone: libvirt keeps it for ever, one file for each that ever was. */
export async function libvirtLogRemove(domain: string): Promise<void> {
  // There is no such directory where libvirt itself runs elsewhere.
  const names = await readdir(DIRECTORY).catch(() => []);
  for (const name of names)
    if (/^\.log(\.\d+)?$/.test(name.slice(domain.length)) && name.startsWith(domain))
      await rm(join(DIRECTORY, name), { force: true });
}
