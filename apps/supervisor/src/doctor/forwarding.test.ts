import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { forwardingChecks, type ForwardingFindings } from './forwarding.js';
import { debian12, dockerRules } from './testing/machines.js';

const judged = (change: Partial<ForwardingFindings>) =>
  forwardingChecks({ ...debian12.forwarding, ...change }).find((c) => c.name === 'forwarding')!;
const iptables = (rules: readonly string[], command = 'iptables-nft') => ({ iptables: [{ command, rules }] });
/** Rules as they are after commands of `iptables -I`, newest first. */
const inserted = (rules: readonly string[], commands: string) => {
  const lines = commands.split(' && ').map((command) => command.replace(/^\S+ -I/, '-A'));
  return [
    ...rules.filter((r) => !r.startsWith('-A')),
    ...lines.reverse(),
    ...rules.filter((r) => r.startsWith('-A')),
  ];
};
const open = dockerRules.map((rule) => (rule === '-P FORWARD DROP' ? '-P FORWARD ACCEPT' : rule));

describe('whether guests’ packets pass the firewalls of others', () => {
  it('is no question where nobody filters, or Docker left the policy alone', () => {
    expect(judged({}).verdict).toBe('ok');
    expect(judged(iptables(open)).verdict).toBe('ok');
  });

  it('names what Docker drops, bridged packets only where iptables sees them', () => {
    const routed = judged(iptables(dockerRules));
    expect(routed).toMatchObject({ verdict: 'warn' });
    expect(routed.found).toBe('iptables-nft: FORWARD drops what guests send out and the answers');
    expect(judged({ ...iptables(dockerRules), bridgeNfCall: true }).found).toContain('neighbours');
  });

  it('is mended by the very commands that it names, and by both of them only', () => {
    for (const bridgeNfCall of [false, true]) {
      const { remedy } = judged({ ...iptables(dockerRules), bridgeNfCall });
      expect(remedy).toBe(
        'iptables-nft -I DOCKER-USER -i bb+ -j ACCEPT && iptables-nft -I DOCKER-USER -o bb+ -j ACCEPT',
      );
      expect(judged({ ...iptables(inserted(dockerRules, remedy)), bridgeNfCall }).verdict).toBe('ok');
      for (const half of remedy.split(' && '))
        expect(judged(iptables(inserted(dockerRules, half))).verdict).toBe('warn');
    }
  });

  it('is not mended by rules that stand behind a drop, or are for other links', () => {
    const behind = [
      '-A DOCKER-USER -j DROP',
      '-A DOCKER-USER -i bb+ -j ACCEPT',
      '-A DOCKER-USER -o bb+ -j ACCEPT',
    ];
    expect(
      judged(iptables([...open.filter((r) => r !== '-A DOCKER-USER -j RETURN'), ...behind])).verdict,
    ).toBe('warn');
    for (const other of ['berth+', 'docker0', 'bbx1']) {
      const rules = inserted(
        dockerRules,
        `iptables -I DOCKER-USER -i ${other} -j ACCEPT && iptables -I DOCKER-USER -o ${other} -j ACCEPT`,
      );
      expect(judged(iptables(rules)).verdict).toBe('warn');
    }
  });

  it('takes a rule that asks for more than the interface as no help, and no harm', () => {
    const narrow = '-A DOCKER-USER -i bb+ -p tcp -m tcp --dport 80 -j ACCEPT';
    expect(judged(iptables([...dockerRules, narrow])).verdict).toBe('warn');
    const blocked = '-A FORWARD -s 192.0.2.0/24 -j DROP';
    expect(judged(iptables(['-P FORWARD ACCEPT', blocked])).verdict).toBe('ok');
  });

  it('lets answers through where connections are looked at, and follows negated and unconditional rules', () => {
    const stateful = '-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT';
    const rules = ['-P FORWARD DROP', stateful, '-A FORWARD -i bb+ ! -o docker0 -j ACCEPT'];
    expect(judged({ ...iptables(rules), bridgeNfCall: true }).verdict).toBe('ok');
    expect(judged(iptables(['-P FORWARD DROP', '-A FORWARD -j ACCEPT'])).verdict).toBe('ok');
    expect(
      judged(iptables(['-P FORWARD ACCEPT', '-A FORWARD -j REJECT --reject-with icmp-port-unreachable']))
        .verdict,
    ).toBe('warn');
  });

  it('puts the rules into FORWARD where there is no Docker, with the program that holds the rules', () => {
    const { remedy } = judged(iptables(['-P FORWARD DROP'], 'iptables-legacy'));
    expect(remedy).toBe(
      'iptables-legacy -I FORWARD -i bb+ -j ACCEPT && iptables-legacy -I FORWARD -o bb+ -j ACCEPT',
    );
  });

  it('looks at both back ends and at other tables, each of which can drop', () => {
    const both = judged({
      iptables: [
        { command: 'iptables-nft', rules: dockerRules },
        { command: 'iptables-legacy', rules: ['-P FORWARD DROP'] },
      ],
      nftDrops: [{ family: 'inet', table: 'site', chain: 'fw', acceptsFrom: [], acceptsTo: ['bb*'] }],
    });
    expect(both.remedy.split(' && ')).toHaveLength(6);
    expect(both.remedy).toContain(`nft insert rule inet site fw iifname '"bb*"' accept`);
    const open = { family: 'inet', table: 'site', chain: 'fw', acceptsFrom: ['bb*'], acceptsTo: ['bb*'] };
    expect(judged({ nftDrops: [open] }).verdict).toBe('ok');
  });

  it('judges any rules without an end that hangs or throws', () => {
    const word = fc.constantFrom(
      '-A',
      '-j',
      '-i',
      '-o',
      '!',
      'FORWARD',
      'A',
      'B',
      'DROP',
      'RETURN',
      'bb+',
      '-m',
      '"x y',
    );
    const line = fc.array(word, { maxLength: 8 }).map((words) => words.join(' '));
    fc.assert(
      fc.property(fc.array(line, { maxLength: 20 }), (rules) => {
        const loops = ['-A FORWARD -j A', '-A A -j B', '-A B -g A', ...rules];
        expect(['ok', 'warn']).toContain(judged(iptables(loops)).verdict);
      }),
    );
  });
});
