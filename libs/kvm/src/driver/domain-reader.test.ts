import { expect, it } from 'vitest';
import { DomainReader } from './domain-reader.js';

const instance = '0199c0de-0000-7000-8000-000000000001';
const document = (epoch: number, port: string): string =>
  `<domain><metadata><b:placement xmlns:b="urn:berth:instance:1" host="h" instance="${instance}" epoch="${epoch}"/>` +
  `</metadata><devices><channel><target name="org.qemu.guest_agent.0" state="${port}"/></channel></devices></domain>`;
const a = { uuid: 'a' };
const b = { uuid: 'b' };

it('reads a domain again when its XML is another, and no sooner', () => {
  const reader = new DomainReader();
  const first = reader.read(a, document(1, 'disconnected'));
  expect(first).toMatchObject({ hostTag: 'h', instanceId: instance, epoch: 1, agentPort: false });
  expect(reader.read(a, document(1, 'disconnected'))).toBe(first);
  expect(reader.read(a, document(1, 'connected'))).toMatchObject({ epoch: 1, agentPort: true });
  expect(reader.read(a, document(2, 'connected'))).toMatchObject({ epoch: 2 });
  expect(reader.read(a, '<domain/>')).toBeNull();
});

it('tells domains apart, and forgets those that are gone', () => {
  const reader = new DomainReader();
  const [ofA, ofB] = [reader.read(a, document(1, 'connected')), reader.read(b, document(1, 'connected'))];
  expect(ofA).not.toBe(ofB);
  reader.keep([b]);
  expect(reader.read(b, document(1, 'connected'))).toBe(ofB);
  expect(reader.read(a, document(1, 'connected'))).not.toBe(ofA);
});
