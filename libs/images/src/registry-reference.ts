import { Digest } from '@berth/model';

/*
 * References to images in registries, by the grammar of the distribution project (reference/reference.go):
 *
 *   reference  = domain "/" repository [ ":" tag ] [ "@" digest ]
 *   domain     = ( name | IPv4 | "[" IPv6 "]" ) [ ":" port ]
 *   repository = component *( "/" component )
 *
 * Read by hand and not by one expression, so that each refusal says which part is wrong and what to do.
 */

/** Docker Hub's name in references, and the host that answers for it. */
const hub = 'docker.io';
const hubAliases = new Set(['docker.io', 'index.docker.io']);
const hubHost = 'registry-1.docker.io';

/** Characters of domain and repository together. */
const nameMost = 255;

const domainPart = '(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])';
const domainText = new RegExp(
  String.raw`^(?:${domainPart}(?:\.${domainPart})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?$`,
);
const componentText = /^[a-z0-9]+(?:(?:[_.]|__|-+)[a-z0-9]+)*$/;
const tagText = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$/;

/** Why a reference is no reference: what is wrong, and what to do. */
export class ReferenceFault extends Error {
  constructor(
    message: string,
    readonly remedy: string,
  ) {
    super(message);
    this.name = 'ReferenceFault';
  }
}

/** An image in a registry. Made by {@link RegistryReference.parse} alone, so its parts are fit for an address as they are. */
export class RegistryReference {
  private constructor(
    /** As it was named, host and port. */
    readonly domain: string,
    readonly repository: string,
    readonly tag: string | null,
    /** Where both are given the digest decides. */
    readonly digest: Digest | null,
  ) {}

  /** @throws ReferenceFault */
  static parse(text: string): RegistryReference {
    const { name, tag, digest } = partsOf(text);
    const slash = name.indexOf('/');
    const first = slash < 0 ? '' : name.slice(0, slash);
    // What the grammar leaves open is decided as Docker and Podman do: only what looks like a host is one.
    const isHost = /[.:A-Z]/.test(first) || first === 'localhost';
    if (!isHost) throw noHost(name);
    if (name.length > nameMost)
      throw new ReferenceFault(`is longer than ${nameMost} characters`, 'Use a shorter repository name.');
    const domain = domainOf(first);
    const repository = repositoryOf(domain, name.slice(slash + 1));
    return new RegistryReference(domain, repository, digest === null ? (tag ?? 'latest') : tag, digest);
  }

  /** Host and port that are connected to. */
  get host(): string {
    return this.domain === hub ? hubHost : this.domain;
  }

  /** What is asked for: the digest, else the tag. */
  get wanted(): string {
    return this.digest ?? this.tag ?? 'latest';
  }

  toString(): string {
    const tag = this.tag === null ? '' : `:${this.tag}`;
    return `${this.domain}/${this.repository}${tag}${this.digest === null ? '' : `@${this.digest}`}`;
  }
}

/**
 * A registry alone, as {@link RegistryReference.domain} names it but in lower case, as hosts have none: what is kept for a
 * registry is found by this. @throws ReferenceFault
 */
export function registryHost(text: string): string {
  return domainOf(text.toLowerCase());
}

interface Parts {
  readonly name: string;
  readonly tag: string | null;
  readonly digest: Digest | null;
}

function partsOf(text: string): Parts {
  const at = text.indexOf('@');
  const digest = at < 0 ? null : digestOf(text.slice(at + 1));
  const named = at < 0 ? text : text.slice(0, at);
  // A colon before the last slash is the port's.
  const colon = named.indexOf(':', named.lastIndexOf('/') + 1);
  const tag = colon < 0 ? null : named.slice(colon + 1);
  if (tag !== null && !tagText.test(tag))
    throw new ReferenceFault(
      'has a tag that is none',
      'A tag is 1 to 128 letters, digits, "_", "." and "-", and begins with a letter, a digit or "_".',
    );
  return { name: tag === null ? named : named.slice(0, colon), tag, digest };
}

function digestOf(text: string): Digest {
  const parsed = Digest.safeParse(text);
  if (parsed.success) return parsed.data;
  throw new ReferenceFault(
    'has a digest that is not sha256 with 64 hexadecimal digits in lower case',
    'Name the manifest by sha256:<digest>, as registries and other tools show it.',
  );
}

function domainOf(text: string): string {
  // A host that is no address in spite of the grammar (1.2.3.999, port 99999) is none for URL either.
  if (!domainText.test(text) || !URL.canParse(`https://${text}/`))
    throw new ReferenceFault(
      'names no host',
      'Begin with the registry: its name or address, and a port if it is not 443.',
    );
  return hubAliases.has(text) ? hub : text;
}

function repositoryOf(domain: string, text: string): string {
  const bad = text.split('/').find((component) => !componentText.test(component));
  if (bad !== undefined)
    throw new ReferenceFault(
      `has the repository component ${JSON.stringify(bad.slice(0, 64))}`,
      'Components are lower case letters and digits, parted by ".", "_", "__" or "-".',
    );
  return domain === hub && !text.includes('/') ? `library/${text}` : text;
}

function noHost(name: string): ReferenceFault {
  const component = componentText.test(name.split('/').at(-1) ?? '') ? name : 'NAME';
  return new ReferenceFault(
    'does not say which registry',
    `Begin with its host: ${hub}/${component.includes('/') ? component : `library/${component}`} for Docker Hub.`,
  );
}
