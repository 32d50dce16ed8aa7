import { describe, expect, it } from 'vitest';
import { edgesSource } from '../../src/sources/edges/index.ts';
import { failureOf, input, readAll } from './flow-input.ts';

type Json = Readonly<Record<string, unknown>>;

const base: Json = {
  first: '2026-10-05T08:00:00Z',
  last: '2026-10-05T09:00:00Z',
  src: { workload: 'shop/Deployment/web' },
  dst: { pod: 'db-0', namespace: 'data' },
  protocol: 'TCP',
  port: 5432,
  count: 12,
  verdict: 'allowed',
};

async function read(value: Json) {
  const { flows } = await readAll(edgesSource, input(JSON.stringify(value)));
  return flows[0];
}

describe('neutral edges', () => {
  it('are read as they stand', async () => {
    expect(
      await read({ ...base, l7: 'GET /x', mtls: 'yes', principal: 'cluster.local/ns/shop/sa/web', source: 'zeek' }),
    ).toMatchObject({
      first: Date.UTC(2026, 9, 5, 8),
      last: Date.UTC(2026, 9, 5, 9),
      src: { namespace: 'shop', workload: { kind: 'Deployment', name: 'web' } },
      dst: { namespace: 'data', pod: 'db-0' },
      count: 12,
      l7: 'GET /x',
      mtls: 'yes',
      principal: 'cluster.local/ns/shop/sa/web',
      source: 'zeek',
      initiatorKnown: true,
    });
  });

  it.each([
    [
      { workload: 'Deployment/web', namespace: 'shop' },
      { namespace: 'shop', workload: { kind: 'Deployment', name: 'web' } },
    ],
    [{ ip: '2001:DB8::1' }, { ip: '2001:DB8::1' }],
    [{ name: 'Pypi.example.org.' }, { names: ['pypi.example.org'], reserved: ['world'] }],
    [{ name: 'db.data.svc' }, { service: { name: 'db', namespace: 'data' } }],
    [{ name: 'db.data.svc.cluster.local' }, { service: { name: 'db', namespace: 'data' } }],
    [{ name: 'db', namespace: 'data' }, { service: { name: 'db', namespace: 'data' } }],
    [{ name: 'node' }, { reserved: ['host'] }],
    [{ name: 'api-server' }, { reserved: ['kube-apiserver'] }],
  ])('take %j for an end', async (dst, expected) => {
    expect((await read({ ...base, dst }))?.dst).toMatchObject(expected);
  });

  it('cover the window from the first to the last of a record', async () => {
    const { report } = await readAll(edgesSource, input(JSON.stringify(base)));
    expect(report).toMatchObject({ first: Date.UTC(2026, 9, 5, 8), last: Date.UTC(2026, 9, 5, 9), records: 1 });
  });

  it.each([
    ['unknown key "ports"', { ...base, ports: [1] }, 'SP245'],
    ['unknown key "src.labels"', { ...base, src: { ip: '10.0.0.1', labels: {} } }, 'SP245'],
    ['unknown key "__proto__"', JSON.parse('{"__proto__":1}') as Json, 'SP245'],
    ['"first"', { ...base, first: '5 October' }, 'SP241'],
    ['"last" is before "first"', { ...base, last: '2026-10-05T07:00:00Z' }, 'SP241'],
    ['"src" is not an object', { ...base, src: 'web' }, 'SP241'],
    ['exactly one of', { ...base, src: {} }, 'SP241'],
    ['exactly one of', { ...base, src: { ip: '10.0.0.1', name: 'x' } }, 'SP241'],
    ['"dst.pod" needs', { ...base, dst: { pod: 'db-0' } }, 'SP241'],
    ['"dst.ip" is not an address', { ...base, dst: { ip: '10.0.0.300' } }, 'SP241'],
    ['"dst.ip" is not an address', { ...base, dst: { ip: '012.1.1.1' } }, 'SP241'],
    ['"src.workload" is not', { ...base, src: { workload: 'web' } }, 'SP241'],
    ['another namespace', { ...base, src: { workload: 'a/Deployment/x', namespace: 'b' } }, 'SP241'],
    ['"protocol"', { ...base, protocol: 'tcp' }, 'SP241'],
    ['"port"', { ...base, port: 0 }, 'SP241'],
    ['"port"', { ...base, port: '80' }, 'SP241'],
    ['"count"', { ...base, count: 1.5 }, 'SP241'],
    ['"verdict"', { ...base, verdict: 'FORWARDED' }, 'SP241'],
    ['"l7"', { ...base, l7: 'GET /x?token=1' }, 'SP241'],
    ['"mtls"', { ...base, mtls: true }, 'SP241'],
    ['"principal"', { ...base, principal: '' }, 'SP241'],
    ['not a JSON object', [] as unknown as Json, 'SP241'],
  ])('are refused with the line: %s', async (message, value, code) => {
    const text = `${JSON.stringify(base)}\n${JSON.stringify(value)}`;
    const failure = await failureOf(readAll(edgesSource, input(text, 'edges.jsonl')));
    expect(failure).toMatchObject({ code, exit: 2, where: 'edges.jsonl:2' });
    expect(failure.message).toContain(message);
    expect((await readAll(edgesSource, input(text), 'skip')).report).toMatchObject({ records: 1, bad: 1 });
  });
});
