/*
 * XML as a tree that is written to text. Nothing is ever pasted: names are checked, values are escaped, and characters
 * that XML 1.0 (section 2.2) cannot carry are refused.
 */

export interface XmlElement {
  readonly name: string;
  readonly attributes: Readonly<Record<string, string>>;
  readonly children: readonly (XmlElement | string)[];
}

/** A name or character that XML cannot carry. */
export class XmlError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'XmlError';
  }
}

type Attributes = Readonly<Record<string, string | number | undefined>>;
type Child = XmlElement | string | null | readonly XmlElement[];

/** One element. Attributes that are undefined and children that are null are left out. */
export function xml(name: string, attributes: Attributes = {}, ...children: readonly Child[]): XmlElement {
  const kept: Record<string, string> = {};
  for (const [key, value] of Object.entries(attributes)) if (value !== undefined) kept[key] = String(value);
  const flat = children.flatMap((child) => (child === null ? [] : Array.isArray(child) ? child : [child]));
  return { name, attributes: kept, children: flat as (XmlElement | string)[] };
}

/** @throws XmlError */
export function renderXml(element: XmlElement, indent = ''): string {
  const attributes = Object.entries(element.attributes).map(([k, v]) => ` ${checkedName(k)}="${escaped(v)}"`);
  const open = `${indent}<${checkedName(element.name)}${attributes.join('')}`;
  if (element.children.length === 0) return `${open}/>\n`;
  if (element.children.every((child) => typeof child === 'string'))
    return `${open}>${element.children.map(escaped).join('')}</${element.name}>\n`;
  const inner = element.children.map((child) =>
    typeof child === 'string' ? escaped(child) : renderXml(child, `${indent}  `),
  );
  return `${open}>\n${inner.join('')}${indent}</${element.name}>\n`;
}

function checkedName(name: string): string {
  if (!/^[A-Za-z_][\w.-]*(:[A-Za-z_][\w.-]*)?$/.test(name)) throw new XmlError(`"${name}" is no XML name`);
  return name;
}

const entities: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&apos;',
  // An attribute's line breaks and tabs would be read back as spaces.
  '\t': '&#9;',
  '\n': '&#10;',
  '\r': '&#13;',
  // Line breaks for a reader that takes the document for XML 1.1.
  '\u0085': '&#133;',
  '\u2028': '&#8232;',
  '\u2029': '&#8233;',
};

function escaped(text: string): string {
  // eslint-disable-next-line no-control-regex -- refusing control characters is the point
  const illegal = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]|\p{Surrogate}/u.exec(text);
  if (illegal !== null) {
    const point = (illegal[0].codePointAt(0) ?? 0).toString(16).padStart(4, '0');
    throw new XmlError(`XML cannot carry the character U+${point.toUpperCase()}`);
  }
  return text.replace(/[&<>"'\t\n\r\u0085\u2028\u2029]/g, (c) => entities[c] ?? c);
}
