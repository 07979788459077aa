import { writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { identityFiles, type GuestIdentity } from '@berth/runtime';
import type { OciMount } from './oci-types.js';

/**
 * Writes the files that tell a guest who it is, and returns the mounts that put them over the image's own. They are
 * read-only: they lie on the host's run directory, which a guest must not fill.
 */
export function guestIdentityWrite(directory: string, identity: GuestIdentity): OciMount[] {
  return Object.entries(identityFiles(identity)).map(([destination, text]) => {
    const source = join(directory, basename(destination));
    writeFileSync(source, text, { mode: 0o644 });
    return {
      destination,
      type: 'bind',
      source,
      options: ['bind', 'ro', 'nosuid', 'nodev', 'noexec', 'rprivate'],
    };
  });
}
