import { writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { connectKube, failureOf } from '../../src/sources/kube/index.ts';
import type { ApiCall, KubeApi, KubeOptions } from '../../src/sources/kube/index.ts';
import { EXIT, Failure } from '../../src/shared/pure/errors.ts';
import type { SimulatedClock } from '../support/fake-api/clock.ts';
import { simulatedClock } from '../support/fake-api/clock.ts';
import type { FakeApi, Fault } from '../support/fake-api/server.ts';
import { startFakeApi, statusBody } from '../support/fake-api/server.ts';

let server: FakeApi;
let clock: SimulatedClock;
let api: KubeApi;
const opened: KubeApi[] = [];

async function open(options: Partial<KubeOptions> = {}): Promise<KubeApi> {
  const connection = await connectKube({ kubeconfig: server.kubeconfig, clock, ...options });
  opened.push(connection);
  return connection;
}

beforeEach(async () => {
  clock = simulatedClock();
  server = await startFakeApi({ now: () => clock.now() });
  api = await open();
});
afterEach(async () => {
  for (const connection of opened.splice(0)) connection.close();
  await server.close();
});

const READ: ApiCall = {
  method: 'GET',
  path: '/apis/networking.k8s.io/v1/namespaces/shop/networkpolicies/allow-web',
  subject: {
    doing: 'reading NetworkPolicy shop/allow-web',
    verb: 'get',
    resource: 'networkpolicies.networking.k8s.io',
    namespace: 'shop',
    name: 'allow-web',
  },
};
const WRITE: ApiCall = {
  method: 'POST',
  path: '/apis/networking.k8s.io/v1/namespaces/kube-system/networkpolicies',
  body: { apiVersion: 'networking.k8s.io/v1', kind: 'NetworkPolicy', metadata: { name: 'x' }, spec: {} },
  subject: {
    doing: 'creating NetworkPolicy kube-system/x',
    verb: 'create',
    resource: 'networkpolicies.networking.k8s.io',
    namespace: 'kube-system',
  },
};

async function failure(attempt: Promise<unknown>): Promise<Failure['detail']> {
  const error: unknown = await attempt.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (!(error instanceof Failure)) throw new Error(`not a Failure: ${String(error)}`);
  return error.detail;
}

describe('a call that may not go out any more', () => {
  it('is asked when its connection stands, and then never reaches the server', async () => {
    let asked = 0;
    const answer = await api.send({ ...WRITE, maySend: () => (asked += 1) === 0 });
    expect(asked).toBe(1);
    expect(answer).toMatchObject({ ok: false, problem: { kind: 'no-answer', why: 'fenced', mayHaveReached: false } });
    expect(server.calls).toEqual([]);
    expect(await api.send({ ...WRITE, maySend: () => true })).toMatchObject({ ok: true, status: 201 });
  });

  it('is asked again before each attempt', async () => {
    server.failNext({ fault: { kind: 'status', status: 429, headers: { 'retry-after': '30' } } });
    let asked = 0;
    const answer = await api.send({ ...WRITE, maySend: () => (asked += 1) < 2 });
    expect(clock.slept).toEqual([30_000]);
    expect(answer).toMatchObject({ ok: false, problem: { why: 'fenced' } });
    expect(server.calls.map(({ status }) => status)).toEqual([429]);
  });
});

type Refusal = readonly [string, Fault['fault'], string, RegExp, RegExp];
const status = (
  code: number,
  body: ReturnType<typeof statusBody>,
  headers: Record<string, string> = {},
): Fault['fault'] => ({
  kind: 'status',
  status: code,
  body,
  headers,
});
const RBAC =
  'networkpolicies.networking.k8s.io "allow-web" is forbidden: User "jane" cannot get resource "networkpolicies" in API group "networking.k8s.io" in the namespace "shop"';

const REFUSALS: readonly Refusal[] = [
  [
    '401',
    status(401, statusBody(401, 'Unauthorized', 'Unauthorized')),
    'SP401',
    /does not accept the credentials \(401\)/,
    /kubectl auth whoami --context fake/,
  ],
  [
    '403 by RBAC',
    status(403, statusBody(403, 'Forbidden', RBAC)),
    'SP403',
    /you may not get networkpolicies\.networking\.k8s\.io in namespace shop \(403\)/,
    /kubectl auth can-i get networkpolicies\.networking\.k8s\.io -n shop$/,
  ],
  [
    '403 by admission',
    status(403, statusBody(403, 'Forbidden', 'admission webhook "guard.example" denied the request: no')),
    'SP406',
    /admission rule \(403\): admission webhook "guard\.example"/,
    /rule named/,
  ],
  [
    '403 by impersonation',
    status(
      403,
      statusBody(
        403,
        'Forbidden',
        'users "x" is forbidden: User "jane" cannot impersonate resource "users" in API group "" at the cluster scope',
      ),
    ),
    'SP403',
    /may not impersonate/,
    /--as/,
  ],
  [
    '403 of a namespace being deleted',
    status(
      403,
      statusBody(403, 'Forbidden', 'unable to create new content', {
        causes: [{ reason: 'NamespaceTerminating', message: 'x', field: '' }],
      }),
    ),
    'SP404',
    /namespace shop is being deleted/,
    /^$/,
  ],
  [
    '404 of an object',
    status(404, statusBody(404, 'NotFound', 'networkpolicies "allow-web" not found', { name: 'allow-web' })),
    'SP404',
    /"allow-web" not found \(404\)/,
    /^$/,
  ],
  [
    '404 of a kind',
    status(404, statusBody(404, 'NotFound', 'the server could not find the requested resource')),
    'SP413',
    /does not serve networkpolicies\.networking\.k8s\.io/,
    /api-resources/,
  ],
  [
    '404 of a router',
    { kind: 'text', status: 404, text: '404 page not found\n' },
    'SP413',
    /does not serve/,
    /api-resources/,
  ],
  [
    '409',
    status(409, statusBody(409, 'Conflict', 'the object has been modified')),
    'SP409',
    /has been modified \(409\)/,
    /again/,
  ],
  [
    '422',
    status(
      422,
      statusBody(422, 'Invalid', 'NetworkPolicy "x" is invalid', {
        causes: [
          {
            reason: 'FieldValueInvalid',
            field: 'spec.ingress[0].ports[0].port',
            message: 'must be between 1 and 65535',
          },
          { reason: 'FieldValueRequired', field: 'spec.podSelector', message: 'Required value' },
        ],
      }),
    ),
    'SP422',
    /invalid \(422\).*\n {2}spec\.ingress\[0\]\.ports\[0\]\.port: must be between 1 and 65535\n {2}spec\.podSelector: Required value/,
    /nothing was written/,
  ],
  [
    '500',
    status(500, statusBody(500, 'InternalError', 'etcd is away')),
    'SP450',
    /failed \(500\): etcd is away/,
    /readyz/,
  ],
  [
    '503 without a body',
    { kind: 'text', status: 503, text: '' },
    'SP450',
    /failed \(503\): status 503 without a message/,
    /readyz/,
  ],
  [
    '415',
    status(415, statusBody(415, 'UnsupportedMediaType', 'no such type')),
    'SP459',
    /refused \(415\): no such type/,
    /^$/,
  ],
  [
    'a login page',
    { kind: 'text', status: 200, text: '<html>log in</html>' },
    'SP457',
    /not the answer of a Kubernetes API server/,
    /proxy-url/,
  ],
  [
    'a redirect',
    { kind: 'text', status: 302, text: '', headers: { location: 'https://evil.example/' } },
    'SP457',
    /a redirect/,
    /server address/,
  ],
  ['a cut answer', { kind: 'cut' }, 'SP455', /the connection broke/, /again/],
];

describe('messages', () => {
  it.each(REFUSALS)('words %s', async (title, fault, code, message, hint) => {
    // Only writes pass admission.
    const verb = title.includes('admission') ? 'update' : 'get';
    server.failNext({ fault, times: 4 });
    const detail = await failure(api.must({ ...READ, subject: { ...READ.subject, verb } }));
    expect(detail).toMatchObject({ code, exit: EXIT.cluster, where: `context fake, ${server.url}` });
    expect(detail.message).toMatch(message);
    expect(detail.message).toMatch(/^reading NetworkPolicy shop\/allow-web: /);
    expect(detail.hint ?? '').toMatch(hint);
  });

  it('makes hostile text of a server harmless', async () => {
    server.failNext({ fault: status(409, statusBody(409, 'Conflict', 'a\u001b]0;title\u0007b\u202e')) });
    const detail = await failure(api.must(READ));

    expect(detail.message).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u202e]/);
  });

  it('says when nothing answers in time', async () => {
    const impatient = await open({ timeoutMs: 40 });
    server.failNext({ fault: { kind: 'timeout' }, times: 4 });
    expect(await failure(impatient.must(READ))).toMatchObject({
      code: 'SP451',
      exit: EXIT.cluster,
      message: expect.stringContaining('no answer within 0.04 s') as string,
    });
  });

  it('says when the connection is refused, at once', async () => {
    const port = await freePort();
    const away = await open({ kubeconfig: kubeconfigOf('refused', `https://127.0.0.1:${port}`, server.caPem) });
    expect(await failure(away.must(READ))).toMatchObject({ code: 'SP452', exit: EXIT.cluster });
    expect(clock.slept).toEqual([]);
  });

  it('says when the host cannot be reached', () => {
    const problem = {
      kind: 'no-answer',
      why: 'host',
      mayHaveReached: false,
      detail: 'getaddrinfo ENOTFOUND x',
    } as const;
    const { detail } = failureOf(problem, READ.subject, api);
    expect(detail).toMatchObject({ code: 'SP453', exit: EXIT.cluster });
    expect(detail.message).toContain('cannot be reached (getaddrinfo ENOTFOUND x)');
  });

  it('trusts no certificate that the kubeconfig does not vouch for', async () => {
    const before = server.calls.length;
    const stranger = await open({ kubeconfig: kubeconfigOf('tls', server.url, undefined) });
    const detail = await failure(stranger.must(READ));
    expect(detail).toMatchObject({ code: 'SP454', exit: EXIT.cluster });
    expect(detail.hint).toMatch(/certificate-authority-data/);
    expect(server.calls).toHaveLength(before);
  });

  it('keeps verifying when the environment says not to', async () => {
    const old = process.env['NODE_TLS_REJECT_UNAUTHORIZED'];
    process.env['NODE_TLS_REJECT_UNAUTHORIZED'] = '0';
    try {
      const stranger = await open({ kubeconfig: kubeconfigOf('env', server.url, undefined) });
      expect(await failure(stranger.must(READ))).toMatchObject({ code: 'SP454' });
      expect(await failure(stranger.must(WRITE))).toMatchObject({ code: 'SP454' });
    } finally {
      if (old === undefined) delete process.env['NODE_TLS_REJECT_UNAUTHORIZED'];
      else process.env['NODE_TLS_REJECT_UNAUTHORIZED'] = old;
    }
  });

  it('says which credential plugin failed, and how', async () => {
    const plugin = kubeconfigOf('exec', server.url, server.caPem, {
      exec: {
        apiVersion: 'client.authentication.k8s.io/v1',
        command: process.execPath,
        args: ['-e', 'console.error("first"); console.error("session expired"); process.exit(1)'],
      },
    });
    const detail = await failure((await open({ kubeconfig: plugin })).must(READ));
    expect(detail).toMatchObject({ code: 'SP402', exit: EXIT.cluster });
    expect(detail.message).toMatch(/credential plugin .* failed: session expired$/);
  });

  it('takes the token of a credential plugin', async () => {
    const credential = JSON.stringify({ kind: 'ExecCredential', status: { token: 'fake-token' } });
    const plugin = kubeconfigOf('exec', server.url, server.caPem, {
      exec: { command: process.execPath, args: ['-e', `console.log(${JSON.stringify(credential)})`] },
    });
    const body = await (await open({ kubeconfig: plugin })).must({ ...READ, path: '/api/v1/namespaces/kube-system' });
    expect(body['kind']).toBe('Namespace');
  });
});

describe('retries', () => {
  it('repeats a read after a server error, waiting longer each time, and gives the answer', async () => {
    server.failNext({ fault: { kind: 'status', status: 500 }, times: 3 });
    const body = await api.must({ ...READ, path: '/api/v1/namespaces/kube-system' });
    expect(body['kind']).toBe('Namespace');
    expect(clock.slept).toEqual([500, 1000, 2000]);
  });

  it('gives a read up after four attempts', async () => {
    server.failNext({ fault: { kind: 'status', status: 503 }, times: 9 });
    expect(await failure(api.must(READ))).toMatchObject({ code: 'SP450' });
    expect(server.calls).toHaveLength(4);
  });

  it.each([
    ['seconds', '7', 7000],
    ['a date', new Date(Date.UTC(2026, 0, 1, 0, 0, 9)).toUTCString(), 9000],
  ])('waits as long as Retry-After asks, in %s, for writes too', async (_title, value, waited) => {
    server.failNext({ fault: { kind: 'status', status: 429, headers: { 'retry-after': value } } });
    expect((await api.must(WRITE))['kind']).toBe('NetworkPolicy');
    expect(clock.slept).toEqual([waited]);
  });

  it('does not wait for hours, and says how long is asked', async () => {
    server.failNext({ fault: { kind: 'status', status: 429, headers: { 'retry-after': '3600' } } });
    expect(await failure(api.must(READ))).toMatchObject({ code: 'SP429', hint: 'try again in 3600 s or later' });
    expect(clock.slept).toEqual([]);
  });

  it.each([
    ['a server error', { kind: 'status', status: 500 }],
    ['an unavailable server', { kind: 'status', status: 503 }],
    ['a cut answer', { kind: 'cut' }],
    ['no answer', { kind: 'timeout' }],
  ] as const)('never repeats a write after %s', async (_title, fault) => {
    const impatient = await open({ timeoutMs: 200 });
    server.failNext({ fault });
    const answer = await impatient.send(WRITE);
    expect(answer.ok).toBe(false);
    expect(server.calls).toHaveLength(1);
    expect(clock.slept).toEqual([]);
  });

  it('repeats a dry run, which writes nothing', async () => {
    server.failNext({ fault: { kind: 'status', status: 500 } });
    expect((await api.send({ ...WRITE, query: { dryRun: 'All' } })).ok).toBe(true);
    expect(server.calls).toHaveLength(2);
  });

  it('stops when it is cancelled', async () => {
    const controller = new AbortController();
    controller.abort(new Error('enough'));
    await expect(api.send({ ...READ, signal: controller.signal })).rejects.toThrow('enough');
    expect(server.calls).toHaveLength(0);
  });
});

describe('identity', () => {
  it('sends no impersonation by itself', async () => {
    await api.must({ ...READ, path: '/api/v1/namespaces/kube-system' });
    expect(Object.keys(server.calls[0]?.headers ?? {}).filter((name) => name.startsWith('impersonate'))).toEqual([]);
  });

  it('sends --as with reads and writes', async () => {
    const deputy = await open({ as: 'system:serviceaccount:ops:jürgen' });
    await deputy.must({ ...READ, path: '/api/v1/namespaces/kube-system' });
    await deputy.must(WRITE);
    const names = server.calls.map(({ headers }) =>
      Buffer.from(headers['impersonate-user'] ?? '', 'latin1').toString('utf8'),
    );
    expect(names).toEqual(['system:serviceaccount:ops:jürgen', 'system:serviceaccount:ops:jürgen']);
  });

  it('sends the groups of the kubeconfig', async () => {
    const file = kubeconfigOf('groups', server.url, server.caPem, {
      token: 'fake-token',
      as: 'deputy',
      'as-groups': ['one', 'two'],
      'as-uid': 'u1',
    });
    await (await open({ kubeconfig: file })).must({ ...READ, path: '/api/v1/namespaces/kube-system' });
    expect(server.calls[0]?.headers).toMatchObject({
      'impersonate-user': 'deputy',
      'impersonate-group': 'one, two',
      'impersonate-uid': 'u1',
    });
  });
});

function kubeconfigOf(
  name: string,
  url: string,
  caPem: string | undefined,
  user: object = { token: 'fake-token' },
): string {
  const file = path.join(path.dirname(server.kubeconfig), `${name}.json`);
  const ca = caPem === undefined ? {} : { 'certificate-authority-data': Buffer.from(caPem).toString('base64') };
  writeFileSync(
    file,
    JSON.stringify({
      clusters: [{ name: 'c', cluster: { server: url, ...ca } }],
      users: [{ name: 'u', user }],
      contexts: [{ name: 'other', context: { cluster: 'c', user: 'u' } }],
      'current-context': 'other',
    }),
  );
  return file;
}

async function freePort(): Promise<number> {
  const listener = createServer();
  await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve));
  const address = listener.address();
  await new Promise((resolve) => listener.close(resolve));
  return typeof address === 'object' && address !== null ? address.port : 0;
}
