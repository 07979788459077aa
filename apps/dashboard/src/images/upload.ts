import { ProblemError, UnreachableError, type Schemas } from '@berth/client';
import { csrfValue } from '../api/client.js';

export type ImageKind = Schemas['Image']['kind'];

/** What each kind is for. */
export const kindLabels: readonly { readonly value: ImageKind; readonly label: string }[] = [
  { value: 'oci', label: 'OCI archive (container, microVM)' },
  { value: 'disk', label: 'Disk (virtual machine)' },
  { value: 'iso', label: 'ISO (CD-ROM drive)' },
];

/** Where the first volume descriptor of an ISO lies, bytes. */
const isoDescriptor = 16 * 2048;

/** Kind of an image by what it holds: a tar or gzip is an archive, what has a volume descriptor an ISO, anything else a disk. */
export async function kindGuess(file: Blob): Promise<ImageKind> {
  const head = new Uint8Array(await file.slice(0, 512).arrayBuffer());
  const descriptor = new Uint8Array(await file.slice(isoDescriptor, isoDescriptor + 6).arrayBuffer());
  const magic = (bytes: Uint8Array, at: number, text: string): boolean =>
    [...text].every((c, i) => bytes[at + i] === c.charCodeAt(0));
  if (magic(head, 257, 'ustar') || (head[0] === 0x1f && head[1] === 0x8b)) return 'oci';
  return magic(descriptor, 1, 'CD001') || magic(descriptor, 1, 'BEA01') ? 'iso' : 'disk';
}

/** A name the API takes, from a file's name. Pure. */
export function nameFrom(file: string): string {
  return file
    .toLowerCase()
    .replace(/(\.oci|\.docker)?\.(tar|tgz|tar\.gz|qcow2|raw|img|iso)$/, '')
    .replaceAll(/[^a-z0-9]+/g, '-')
    .replace(/^[^a-z]+/, '')
    .slice(0, 63)
    .replace(/-+$/, '');
}

/**
 * Uploads an image file and tells how much of it has gone: the one thing `fetch` cannot do.
 * @param progress share of the bytes that are sent, 0 to 1; at 1 the API is still verifying
 * @throws ProblemError, UnreachableError
 */
export function imageUpload(
  project: string,
  image: { readonly name: string; readonly kind: ImageKind },
  file: Blob,
  progress: (share: number) => void,
  signal: AbortSignal,
): Promise<Schemas['Imported']> {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open(
      'POST',
      `/v1/projects/${encodeURIComponent(project)}/images?${new URLSearchParams(image).toString()}`,
    );
    request.setRequestHeader('content-type', 'application/octet-stream');
    request.setRequestHeader('x-berth-csrf', csrfValue() ?? '');
    request.upload.onprogress = (event) => progress(event.total === 0 ? 0 : event.loaded / event.total);
    request.onload = () => {
      const body: unknown = parsed(request.responseText);
      if (request.status === 201) resolve(body as Schemas['Imported']);
      else if (isProblem(body)) reject(new ProblemError(body));
      else reject(new UnreachableError(`the API answered ${request.status}`, true));
    };
    request.onerror = () => reject(new UnreachableError('the upload broke off', false));
    request.onabort = () => reject(new DOMException('The upload was cancelled.', 'AbortError'));
    signal.addEventListener('abort', () => request.abort(), { once: true });
    request.send(file);
  });
}

type Problem = ConstructorParameters<typeof ProblemError>[0];
const isProblem = (body: unknown): body is Problem =>
  typeof body === 'object' && body !== null && 'code' in body && 'detail' in body;

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
