import { describe, expect, it } from 'vitest';
import { compileWorld } from '../../src/model/evaluate.ts';
import type { NetworkPeer, NetworkPort } from '../../src/model/network-policy.ts';
import { parseNetworkPolicy } from '../../src/model/network-policy.ts';
import type { Json, JsonObject } from '../../src/shared/pure/json.ts';
import { answerOf, inventoryOf, networkPolicy } from '../support/world.ts';

/** `SP340 error spec.x: what is wrong`, and then the hint. */
function findingsOf(spec: Json, metadata: JsonObject = {}): readonly string[] {
  const policy = networkPolicy('shop/p', {});
  const manifest = { ...policy, spec, metadata: { ...policy.metadata, ...metadata } };
  return parseNetworkPolicy(manifest).findings.map(({ code, severity, where, message, hint, subject }) => {
    expect(subject).toBe('NetworkPolicy shop/p');
    expect(hint).toBe(HINTS[code]);
    return `${code} ${severity} ${where ?? ''} | ${message}`;
  });
}

const HINTS: Readonly<Record<string, string>> = {
  SP340: 'Correct the field. Until then every answer about pods that it may select is unknown.',
  SP341: 'Correct the spelling. Until then every answer about pods that it may select is unknown.',
};

function refused(where: string, what: string): string {
  return `SP340 error ${where} | ${where} ${what}: the API server refuses this policy`;
}

function unknownField(where: string, of = 'NetworkPolicy v1'): string {
  const message =
    of === 'NetworkPolicy v1'
      ? 'is not a field of NetworkPolicy v1: kubectl refuses it, and an API server that takes it leaves it out'
      : `is not a field of ${of}`;
  return `SP341 error ${where} | ${where} ${message}`;
}

function warning(where: string, what: string): string {
  return `SP342 warning ${where} | ${where} ${what}`;
}

const ingress = (...rules: readonly Json[]): JsonObject => ({ ingress: rules });
const ports = (...list: readonly Json[]): JsonObject => ingress({ ports: list });
const from = (...list: readonly Json[]): JsonObject => ingress({ from: list });
const block = (cidr: Json, except?: Json): JsonObject =>
  from({ ipBlock: { cidr, ...(except === undefined ? {} : { except }) } });
const LABEL = 'a'.repeat(63);
const AT = 'spec.ingress[0]';

describe('what the API server says of a NetworkPolicy', () => {
  it.each<[string, Json, readonly string[]]>([
    ['an empty spec', {}, []],
    ['every field in order', { podSelector: {}, policyTypes: ['Egress', 'Ingress'], ingress: [], egress: [] }, []],
    ['a spec that is no object', 'x', [refused('spec', 'is not an object')]],
    ['a list for a spec', [], [refused('spec', 'is not an object')]],
    ['a misspelt field of the spec', { podSelectors: {} }, [unknownField('spec.podSelectors')]],
    ['a selector that is no object', { podSelector: 'x' }, [refused('spec.podSelector', 'is not an object')]],
    ['rules that are no list', { ingress: {} }, [refused('spec.ingress', 'is not a list')]],
    ['egress rules that are no list', { egress: 'x' }, [refused('spec.egress', 'is not a list')]],
    ['a rule that is no object', ingress('x'), [refused(AT, 'is not an object')]],
    ['the second rule', ingress({}, 'x'), [refused('spec.ingress[1]', 'is not an object')]],
    ['a rule of egress with peers of ingress', { egress: [{ from: [] }] }, [unknownField('spec.egress[0].from')]],
    ['a rule of ingress with peers of egress', ingress({ to: [] }), [unknownField(`${AT}.to`)]],
    ['types that are no list', { policyTypes: 'Ingress' }, [refused('spec.policyTypes', 'is not a list')]],
    [
      'a type that is none',
      { policyTypes: ['Ingress', 'ingress'] },
      [refused('spec.policyTypes[1]', '"ingress" is neither Ingress nor Egress')],
    ],
    [
      'three types',
      { policyTypes: ['Ingress', 'Egress', 'Egress'] },
      [refused('spec.policyTypes', 'has more than two items')],
    ],
    ['ports that are no list', ingress({ ports: {} }), [refused(`${AT}.ports`, 'is not a list')]],
    ['a port that is no object', ports(80), [refused(`${AT}.ports[0]`, 'is not an object')]],
    ['a misspelt field of a port', ports({ Port: 80 }), [unknownField(`${AT}.ports[0].Port`)]],
    ['every field of a port', ports({ protocol: 'TCP', port: 1, endPort: 2 }), []],
    ['each protocol', ports({ protocol: 'TCP' }, { protocol: 'UDP' }, { protocol: 'SCTP' }), []],
    [
      'a protocol in small letters',
      ports({ protocol: 'udp' }),
      [refused(`${AT}.ports[0].protocol`, '"udp" is none of TCP, UDP, SCTP')],
    ],
    [
      'a protocol that is a number',
      ports({ protocol: 6 }),
      [refused(`${AT}.ports[0].protocol`, '6 is none of TCP, UDP, SCTP')],
    ],
    ['an end without a port', ports({ endPort: 9 }), [refused(`${AT}.ports[0].endPort`, 'needs a port')]],
    [
      'an end of a name',
      ports({ port: 'sql', endPort: 9 }),
      [refused(`${AT}.ports[0].endPort`, 'needs a port that is a number')],
    ],
    ['no end, said so', ports({ port: 80, endPort: null }, { port: 'sql', endPort: null }, { endPort: null }), []],
    ['the first port and the last', ports({ port: 1 }, { port: 65_535 }, { port: 1, endPort: 65_535 }), []],
    ['a range of one port', ports({ port: 80, endPort: 80 }), []],
    ['port 0', ports({ port: 0 }), [refused(`${AT}.ports[0].port`, '0 is not a port from 1 to 65535')]],
    ['port 65536', ports({ port: 65_536 }), [refused(`${AT}.ports[0].port`, '65536 is not a port from 1 to 65535')]],
    ['half a port', ports({ port: 1.5 }), [refused(`${AT}.ports[0].port`, '1.5 is not a port from 1 to 65535')]],
    ['true for a port', ports({ port: true }), [refused(`${AT}.ports[0].port`, 'true is not a port from 1 to 65535')]],
    [
      'an end below the port',
      ports({ port: 80, endPort: 79 }),
      [refused(`${AT}.ports[0].endPort`, '79 is not a port from 80 to 65535')],
    ],
    [
      'an end beyond the last port',
      ports({ port: 80, endPort: 65_536 }),
      [refused(`${AT}.ports[0].endPort`, '65536 is not a port from 80 to 65535')],
    ],
    [
      'an end that is a text',
      ports({ port: 80, endPort: '90' }),
      [refused(`${AT}.ports[0].endPort`, '"90" is not a port from 80 to 65535')],
    ],
    ['names of ports', ports({ port: 'a' }, { port: 'a-1-b' }, { port: 'fifteen-letters' }, { port: '8a' }), []],
    ...['sixteen-letters1', '-a', 'a-', 'a--b', 'A', 'a_b', '80', '1-2', ''].map(
      (name): [string, Json, readonly string[]] => [
        `the port name "${name}"`,
        ports({ port: name }),
        [refused(`${AT}.ports[0].port`, `"${name}" is not a port name of at most 15 characters`)],
      ],
    ),
    ['peers that are no list', ingress({ from: {} }), [refused(`${AT}.from`, 'is not a list')]],
    [
      'a peer that is no object',
      from('x'),
      [refused(`${AT}.from[0]`, 'is not an object'), refused(`${AT}.from[0]`, 'names no peer')],
    ],
    ['a peer that names nobody', from({}), [refused(`${AT}.from[0]`, 'names no peer')]],
    [
      'a peer of null alone',
      from({ podSelector: null, namespaceSelector: null, ipBlock: null }),
      [refused(`${AT}.from[0]`, 'names no peer')],
    ],
    ['every kind of peer', from({ podSelector: {} }, { namespaceSelector: {} }, { ipBlock: { cidr: '::/0' } }), []],
    [
      'a misspelt field of a peer',
      from({ podSelector: {}, namespaceSelectors: {} }),
      [unknownField(`${AT}.from[0].namespaceSelectors`)],
    ],
    [
      'an address beside a pod selector',
      from({ ipBlock: { cidr: '::/0' }, podSelector: {} }),
      [refused(`${AT}.from[0]`, 'has ipBlock beside another peer')],
    ],
    [
      'an address beside a namespace selector',
      from({ ipBlock: { cidr: '::/0' }, namespaceSelector: {} }),
      [refused(`${AT}.from[0]`, 'has ipBlock beside another peer')],
    ],
    [
      'selectors of a peer that are wrong',
      from({ podSelector: { a: 1 }, namespaceSelector: { matchLabels: { a: '?' } } }),
      [
        unknownField(`${AT}.from[0].podSelector.a`, 'a label selector'),
        refused(`${AT}.from[0].namespaceSelector.matchLabels.a`, '"?" is not a label value'),
      ],
    ],
    [
      'a block that is no object',
      from({ ipBlock: 'x' }),
      [
        refused(`${AT}.from[0].ipBlock`, 'is not an object'),
        refused(`${AT}.from[0].ipBlock.cidr`, 'null is not a CIDR such as 10.0.0.0/8'),
      ],
    ],
    [
      'a misspelt field of a block',
      from({ ipBlock: { cidr: '::/0', excepts: [] } }),
      [unknownField(`${AT}.from[0].ipBlock.excepts`)],
    ],
    [
      'an address for a block',
      block('10.0.0.1'),
      [refused(`${AT}.from[0].ipBlock.cidr`, '"10.0.0.1" is not a CIDR such as 10.0.0.0/8')],
    ],
    ['a number for a block', block(10), [refused(`${AT}.from[0].ipBlock.cidr`, '10 is not a CIDR such as 10.0.0.0/8')]],
    ['exceptions that are no list', block('::/0', {}), [refused(`${AT}.from[0].ipBlock.except`, 'is not a list')]],
    ['exceptions at both ends', block('10.0.0.0/8', ['10.0.0.0/9', '10.255.255.255/32']), []],
    [
      'the second exception is none',
      block('10.0.0.0/8', ['10.0.0.0/9', 'x']),
      [refused(`${AT}.from[0].ipBlock.except[1]`, '"x" is not a CIDR such as 10.0.0.0/8')],
    ],
    [
      'an exception outside of the block',
      block('10.0.0.0/8', ['11.0.0.0/9']),
      [refused(`${AT}.from[0].ipBlock.except[0]`, '"11.0.0.0/9" is not a strict subset of "10.0.0.0/8"')],
    ],
    [
      'an exception that is the block',
      block('10.0.0.0/8', ['10.0.0.0/8']),
      [refused(`${AT}.from[0].ipBlock.except[0]`, '"10.0.0.0/8" is not a strict subset of "10.0.0.0/8"')],
    ],
    [
      'an exception that is wider than the block',
      block('10.0.0.0/8', ['0.0.0.0/0']),
      [refused(`${AT}.from[0].ipBlock.except[0]`, '"0.0.0.0/0" is not a strict subset of "10.0.0.0/8"')],
    ],
    [
      'an exception of a block that is none',
      block('x', ['10.0.0.0/8']),
      [refused(`${AT}.from[0].ipBlock.cidr`, '"x" is not a CIDR such as 10.0.0.0/8')],
    ],
    [
      'bits beyond the prefix',
      block('10.0.0.1/8'),
      [
        warning(
          `${AT}.from[0].ipBlock.cidr`,
          '"10.0.0.1/8" has bits set beyond its prefix: the whole block is meant, and newer API servers refuse it',
        ),
      ],
    ],
    [
      'a long spelling',
      block('2001:0db8::/32'),
      [
        warning(
          `${AT}.from[0].ipBlock.cidr`,
          '"2001:0db8::/32" is not in its short form, which newer API servers ask for',
        ),
      ],
    ],
    [
      'a long spelling with bits beyond the prefix',
      block('2001:0db8::1/32'),
      [
        warning(
          `${AT}.from[0].ipBlock.cidr`,
          '"2001:0db8::1/32" has bits set beyond its prefix: the whole block is meant, and newer API servers refuse it',
        ),
      ],
    ],
    ...['010.0.0.0/8', '10.0.0.0/08', '::ffff:10.0.0.0/104', '010.0.0.1/8'].map(
      (text): [string, Json, readonly string[]] => [
        `${text}, which is read in two ways`,
        block(text),
        [
          warning(
            `${AT}.from[0].ipBlock.cidr`,
            `"${text}" is read differently by those who enforce it, so its effect is not known, and newer API servers refuse it`,
          ),
        ],
      ],
    ),
  ])('%s', (_, spec, expected) => {
    expect(findingsOf(spec)).toEqual(expected);
  });

  it.each<[string, JsonObject, readonly string[]]>([
    ['labels and annotations', { labels: { a: 'b', 'c.io/d': '' }, annotations: { 'A.b/C': 'x y', e: '' } }, []],
    ['null for a value', { labels: { a: null }, annotations: { a: null } }, []],
    ['null for both', { labels: null, annotations: null }, []],
    ['a name with dots', { name: 'a.b-c.1' }, []],
    [
      'a name in capitals',
      { name: 'A' },
      [refused('metadata.name', '"A" is not a name of lower case, digits, - and .')],
    ],
    ['labels that are no object', { labels: 'x' }, [refused('metadata.labels', 'is not an object')]],
    ['annotations that are no object', { annotations: ['x'] }, [refused('metadata.annotations', 'is not an object')]],
    ['a label key', { labels: { 'a b': 'c' } }, [refused('metadata.labels', '"a b" is not a label key')]],
    ['a label value', { labels: { a: 'b c' } }, [refused('metadata.labels.a', '"b c" is not a label value')]],
    [
      'a list for a label value',
      { labels: { a: ['b'] } },
      [refused('metadata.labels.a', '["b"] is not a label value')],
    ],
    ['a number for a label value', { labels: { a: 1 } }, [refused('metadata.labels.a', '1 is not a label value')]],
    [
      'an annotation key',
      { annotations: { 'a b': 'c' } },
      [refused('metadata.annotations', '"a b" is not an annotation key')],
    ],
    ['a number for an annotation', { annotations: { a: 1 } }, [refused('metadata.annotations.a', 'is not a text')]],
  ])('metadata: %s', (_, metadata, expected) => {
    const subject = metadata['name'] === undefined ? findingsOf({}, metadata) : named(metadata['name'] as string);
    expect(subject).toEqual(expected);
  });

  function named(name: string): readonly string[] {
    return parseNetworkPolicy(networkPolicy(`shop/${name}`, {})).findings.map(
      ({ code, severity, where, message }) => `${code} ${severity} ${where ?? ''} | ${message}`,
    );
  }

  it('names its namespace, and the default one where it has none', () => {
    const { policy } = parseNetworkPolicy(networkPolicy('p', {}));
    expect([policy.name, policy.namespace]).toEqual(['NetworkPolicy p', 'default']);
    expect(parseNetworkPolicy(networkPolicy('shop/p', {})).policy.namespace).toBe('shop');
  });
});

describe('what is read from a NetworkPolicy', () => {
  const range = (first: number, last: number, protocol: 'TCP' | 'UDP' | 'SCTP' = 'TCP'): NetworkPort => ({
    kind: 'range',
    protocol,
    first,
    last,
  });
  it.each<[string, Json, 'all' | readonly NetworkPort[]]>([
    ['no ports', [], 'all'],
    ['null', null, 'all'],
    ['an empty port', [{}], [range(1, 65_535)]],
    ['a protocol', [{ protocol: 'SCTP' }], [range(1, 65_535, 'SCTP')]],
    ['a number', [{ port: 80, protocol: 'UDP' }], [range(80, 80, 'UDP')]],
    ['a range', [{ port: 80, endPort: 90 }], [range(80, 90)]],
    ['a name', [{ port: 'sql', protocol: 'UDP' }], [{ kind: 'named', protocol: 'UDP', name: 'sql' }]],
    ['a name that is refused', [{ port: 'SQL' }], [{ kind: 'named', protocol: 'TCP', name: 'SQL' }]],
    ['several', [{ port: 80 }, { port: 'sql' }], [range(80, 80), { kind: 'named', protocol: 'TCP', name: 'sql' }]],
    ['a port that is none', [{ port: 0 }, { port: 1 }], [range(1, 1)]],
    ['a protocol that is none', [{ protocol: 'x', port: 1 }], []],
    ['an end that is none', [{ port: 2, endPort: 1 }], []],
  ])('ports: %s', (_, value, expected) => {
    const { policy } = parseNetworkPolicy(networkPolicy('shop/p', ingress({ ports: value })));
    expect(policy.ingress).toEqual([{ index: 0, ports: expected, peers: 'all' }]);
  });

  const ONE = { requirements: [{ key: 'a', operator: 'In' as const, values: ['b'] }] };
  const labels = { matchLabels: { a: 'b' } };
  it.each<[string, Json, 'all' | readonly NetworkPeer[]]>([
    ['no peers', [], 'all'],
    ['pods', [{ podSelector: labels }], [{ kind: 'pods', namespaces: 'own', pods: ONE }]],
    ['namespaces', [{ namespaceSelector: labels }], [{ kind: 'pods', namespaces: ONE, pods: { requirements: [] } }]],
    [
      'both',
      [{ podSelector: labels, namespaceSelector: {} }],
      [{ kind: 'pods', namespaces: { requirements: [] }, pods: ONE }],
    ],
    [
      'addresses',
      [{ ipBlock: { cidr: '0.0.0.0/30', except: ['0.0.0.1/32', 'x'] } }],
      [
        {
          kind: 'ip-block',
          block: { range: { family: 4, first: 0n, last: 3n }, except: [{ family: 4, first: 1n, last: 1n }] },
        },
      ],
    ],
    ['addresses that are none', [{ ipBlock: { cidr: 'x' } }], []],
    ['nobody', [{}], []],
  ])('peers: %s', (_, value, expected) => {
    const { policy } = parseNetworkPolicy(networkPolicy('shop/p', { egress: [{}, { to: value }] }));
    expect(policy.egress).toEqual([
      { index: 0, ports: 'all', peers: 'all' },
      { index: 1, ports: 'all', peers: expected },
    ]);
  });

  it.each<[string, JsonObject, boolean, boolean]>([
    ['nothing', {}, true, false],
    ['an empty list of types', { policyTypes: [] }, true, false],
    ['egress rules', { egress: [{}] }, true, true],
    ['an empty list of egress rules', { egress: [] }, true, false],
    ['Ingress', { policyTypes: ['Ingress'], egress: [{}] }, true, false],
    ['Egress', { policyTypes: ['Egress'] }, false, true],
    ['both', { policyTypes: ['Egress', 'Ingress'] }, true, true],
    ['a type that is none', { policyTypes: ['Ingress', 'x'] }, true, true],
  ])('types: %s', (_, spec, onIngress, onEgress) => {
    const { policy } = parseNetworkPolicy(networkPolicy('shop/p', spec));
    expect([policy.ingress !== undefined, policy.egress !== undefined]).toEqual([onIngress, onEgress]);
  });

  it.each<[string, JsonObject, boolean, boolean]>([
    ['nothing wrong', {}, false, false],
    ['a port that is none', ports({ port: 0 }), true, false],
    ['a field that is none', { x: 1 }, true, false],
    ['a CIDR that is read in two ways', block('010.0.0.0/8'), true, false],
    ['a CIDR with bits beyond its prefix', block('10.0.0.1/8'), false, false],
    ['a selector that is none', { podSelector: { matchLabels: { a: '?' } } }, true, true],
  ])('%s leaves its rules, and whom it selects, in doubt or not', (_, spec, broken, selectorBroken) => {
    const { policy } = parseNetworkPolicy(networkPolicy('shop/p', spec));
    expect([policy.broken, policy.selectorBroken]).toEqual([broken, selectorBroken]);
  });

  it('is an object of the old group too', () => {
    const policies = [{ ...networkPolicy('a/p', {}), apiVersion: 'extensions/v1beta1' }];
    const world = compileWorld(inventoryOf({ workloads: { 'a/Deployment/x': {}, 'a/Deployment/y': {} }, policies }));
    expect(answerOf(world, 'a/Deployment/x -> a/Deployment/y 80')).toBe('denied');
  });

  it('takes the longest label there may be', () => {
    expect(findingsOf({}, { labels: { [LABEL]: LABEL } })).toEqual([]);
    expect(findingsOf({}, { labels: { a: `${LABEL}a` } })).toHaveLength(1);
  });
});
