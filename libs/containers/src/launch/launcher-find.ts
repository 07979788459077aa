import { join } from 'node:path';
import { detectCgroups } from '@berth/linux';
import { RuntimeError } from '@berth/runtime';
import type { ContainerRuntimeOptions } from '../ports.js';
import { ConmonLauncher } from './conmon.js';
import type { Launcher } from './launcher.js';
import { OciCommand, ociPrograms } from './oci-command.js';
import { programFind } from './programs.js';

const LOG_MAX_BYTES = 16 * 1024 * 1024;

/** The installed OCI runtime that works with this host's cgroups, or null. */
export function ociProgramFind(): string | null {
  for (const name of ociPrograms(detectCgroups())) {
    const path = programFind(name);
    if (path !== null) return path;
  }
  return null;
}

/** The launcher for this host. @throws RuntimeError unsupported that names what is missing. */
export function launcherFind(options: ContainerRuntimeOptions): Launcher {
  const conmon = programFind('conmon');
  const program = ociProgramFind();
  if (conmon === null || program === null) {
    const missing = conmon === null ? 'conmon' : ociPrograms(detectCgroups()).join(' or ');
    throw new RuntimeError('unsupported', `${missing} is not installed`, { remedy: `install ${missing}` });
  }
  return new ConmonLauncher({
    conmon,
    command: new OciCommand(program, join(options.runDir, 'oci')),
    directory: join(options.runDir, 'monitor'),
    logMaxBytes: options.logMaxBytes ?? LOG_MAX_BYTES,
  });
}
