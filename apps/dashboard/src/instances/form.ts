import type { Schemas } from '@berth/client';

type SpecInput = Schemas['InstanceCreate']['spec'];

/** What the form holds: text as it was typed. */
export interface Draft {
  readonly name: string;
  readonly isolation: 'container' | 'microvm' | 'vm';
  readonly image: string;
  readonly vcpus: string;
  /** Of a VM; empty: it keeps those it starts with. */
  readonly maxVcpus: string;
  readonly firmware: 'bios' | 'uefi' | 'secureBoot';
  readonly tpm: boolean;
  readonly vsock: boolean;
  /** Of a VM; empty: its guest sees none. */
  readonly numaNodes: string;
  readonly numaBound: boolean;
  /** Of a container. */
  readonly readOnlyRoot: boolean;
  /** Of a VM; empty: its host's choice. */
  readonly cpuModel: string;
  readonly cpuMillis: string;
  readonly memoryMiB: string;
  /** Of a VM; empty: it keeps what it starts with. */
  readonly maxMemoryMiB: string;
  readonly diskMiB: string;
  /** The first has the way out. */
  readonly networks: readonly string[];
  /** On the first; empty: the lowest free one. */
  readonly address: string;
  readonly restart: 'never' | 'onFailure' | 'always';
  readonly args: string;
  readonly env: string;
  readonly userData: string;
  readonly labels: string;
  readonly selector: string;
}

/** Small enough for any host, and what most images need. */
export const firstDraft: Draft = {
  name: '',
  isolation: 'container',
  image: '',
  vcpus: '1',
  maxVcpus: '',
  firmware: 'bios',
  tpm: false,
  vsock: false,
  numaNodes: '',
  numaBound: false,
  readOnlyRoot: false,
  cpuModel: '',
  cpuMillis: '',
  memoryMiB: '128',
  maxMemoryMiB: '',
  diskMiB: '1024',
  networks: ['default'],
  address: '',
  restart: 'never',
  args: '',
  env: '',
  userData: '',
  labels: '',
  selector: '',
};

/** Kind of image that an isolation runs. */
export const kindFor = (isolation: SpecInput['isolation']): 'oci' | 'disk' =>
  isolation === 'vm' ? 'disk' : 'oci';

/**
 * The request's spec. Numbers that are none are sent as they were typed, so that the API names the field. Pure.
 */
export function specOf(draft: Draft): SpecInput {
  const container = draft.isolation === 'container';
  const oci = draft.isolation !== 'vm';
  const args = wordsOf(draft.args);
  const env = pairsOf(draft.env, '\n');
  const process = { ...(args.length > 0 && { args }), ...(Object.keys(env).length > 0 && { env }) };
  return {
    isolation: draft.isolation,
    image: draft.image,
    ...(container ? {} : { vcpus: numberOf(draft.vcpus) }),
    ...(!oci && draft.maxVcpus !== '' && { maxVcpus: numberOf(draft.maxVcpus) }),
    ...(container && draft.cpuMillis !== '' && { cpuMillis: numberOf(draft.cpuMillis) }),
    memoryMiB: numberOf(draft.memoryMiB),
    ...(!oci && draft.maxMemoryMiB !== '' && { maxMemoryMiB: numberOf(draft.maxMemoryMiB) }),
    rootDisk: { sizeMiB: numberOf(draft.diskMiB) },
    nics: draft.networks.map((network, i) => ({
      network,
      ...(i === 0 && draft.address !== '' && { address: draft.address }),
    })),
    restart: { policy: draft.restart },
    ...(oci && Object.keys(process).length > 0 && { process }),
    ...(container && draft.readOnlyRoot && { security: { readOnlyRoot: true } }),
    ...(!oci &&
      draft.firmware !== 'bios' && {
        firmware: { type: 'uefi', secureBoot: draft.firmware === 'secureBoot' },
      }),
    ...(!oci && draft.cpuModel.trim() !== '' && { cpu: { model: draft.cpuModel.trim() } }),
    ...(!oci && draft.tpm && { tpm: true }),
    ...(!oci && draft.vsock && { vsock: true }),
    ...(!oci &&
      (draft.numaNodes !== '' || draft.numaBound) && {
        numa: {
          ...(draft.numaNodes !== '' && { nodes: numberOf(draft.numaNodes) }),
          ...(draft.numaBound && { placement: 'bind' }),
        },
      }),
    ...(!oci && draft.userData !== '' && { userData: draft.userData }),
    ...(draft.selector.trim() !== '' && { placement: { selector: pairsOf(draft.selector, ',') } }),
  } as SpecInput;
}

export function bodyOf(draft: Draft): Schemas['InstanceCreate'] {
  return { name: draft.name, labels: pairsOf(draft.labels, ','), spec: specOf(draft) };
}

function numberOf(text: string): number {
  return (/^\s*\d+\s*$/.test(text) ? Number(text) : text) as number;
}

/** `key=value`, several split by commas or lines; what has no `=` is a key without a value. */
export function pairsOf(text: string, between: ',' | '\n'): Record<string, string> {
  const parts = text
    .split(between)
    .map((p) => (between === ',' ? p.trim() : p.replace(/\r$/, '')))
    .filter((p) => p.trim() !== '');
  return Object.fromEntries(
    parts.map((p) => {
      const at = p.indexOf('=');
      return at === -1 ? [p.trim(), ''] : [p.slice(0, at).trim(), p.slice(at + 1)];
    }),
  );
}

/** Words as a shell would split them, by blanks, with single and double quotes; nothing is expanded. */
export function wordsOf(text: string): string[] {
  const words: string[] = [];
  let word: string | null = null;
  let quote: string | null = null;
  for (const c of text) {
    if (quote !== null) {
      if (c === quote) quote = null;
      else word = (word ?? '') + c;
    } else if (c === '"' || c === "'") {
      quote = c;
      word ??= '';
    } else if (/\s/.test(c)) {
      if (word !== null) words.push(word);
      word = null;
    } else word = (word ?? '') + c;
  }
  if (word !== null) words.push(word);
  return words;
}
