import type { Schemas } from '@berth/client';
import { firstParts, partsOf, type PartsDraft } from './form-parts.js';
import { numberOf, pairsOf, wordsOf } from './typed.js';

type SpecInput = Schemas['InstanceCreate']['spec'];

/** What the form holds: text as it was typed. */
export interface Draft extends PartsDraft {
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
  ...firstParts,
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
  const process = {
    ...(args.length > 0 && { args }),
    ...(Object.keys(env).length > 0 && { env }),
    ...(container && draft.init && { init: true }),
  };
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
    ...partsOf(draft, draft.isolation),
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
