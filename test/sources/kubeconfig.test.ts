import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readKubeAccess } from '../../src/sources/kube/index.ts';
import type { KubeconfigOptions } from '../../src/sources/kube/index.ts';
import { EXIT, Failure } from '../../src/shared/pure/errors.ts';

let dir = '';
beforeAll(() => {
  dir = mkdtempSync(path.join(tmpdir(), 'sallyport-kubeconfig-'));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

function write(name: string, text: string): string {
  const file = path.join(dir, name);
  writeFileSync(file, text);
  return file;
}

const VALID = `
apiVersion: v1
kind: Config
clusters:
- {name: one, cluster: {server: "https://one.example:6443/"}}
- {name: two, cluster: {server: "https://two.example", certificate-authority-data: ${Buffer.from('ca').toString('base64')}}}
- {name: plain, cluster: {server: "http://plain.example"}}
- {name: named, cluster: {server: "https://user:secret-word@named.example"}}
- {name: odd, cluster: {server: "not an address"}}
- {name: lost-ca, cluster: {server: "https://x.example", certificate-authority: nowhere.crt}}
users:
- {name: jane, user: {token: t0ken}}
- {name: robot, user: {tokenFile: robot.token, as: deputy, as-groups: [g1, g2], as-uid: u1}}
- {name: plugged, user: {exec: {command: ./bin/login, apiVersion: client.authentication.k8s.io/v1}}}
- {name: empty-plugin, user: {exec: {}}}
contexts:
- {name: prod, context: {cluster: two, user: jane}}
- {name: robot, context: {cluster: one, user: robot}}
- {name: plugged, context: {cluster: one, user: plugged}}
- {name: plain, context: {cluster: plain, user: jane}}
- {name: named, context: {cluster: named, user: jane}}
- {name: odd, context: {cluster: odd, user: jane}}
- {name: lost-ca, context: {cluster: lost-ca, user: jane}}
- {name: no-cluster, context: {cluster: gone, user: jane}}
- {name: no-user, context: {cluster: one, user: gone}}
- {name: empty-plugin, context: {cluster: one, user: empty-plugin}}
current-context: prod
`;

async function failure(options: KubeconfigOptions): Promise<Failure['detail']> {
  const error: unknown = await readKubeAccess(options).then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (!(error instanceof Failure)) throw new Error(`not a Failure: ${String(error)}`);
  return error.detail;
}

describe('readKubeAccess', () => {
  it('takes the current context, and trims the server', async () => {
    const access = await readKubeAccess({ kubeconfig: write('valid', VALID), home: '/nowhere' });
    expect(access.context).toBe('prod');
    expect(access.cluster.server).toBe('https://two.example');
    expect(access.cluster.skipTLSVerify).toBe(false);
    expect(access.caSha256).toMatch(/^[0-9a-f]{64}$/);
    expect(access.impersonate).toBeUndefined();
  });

  it('takes impersonation, token file and plugin relative to the kubeconfig', async () => {
    const file = write('valid', VALID);
    const robot = await readKubeAccess({ kubeconfig: file, context: 'robot' });
    expect(robot.impersonate).toEqual({ user: 'deputy', uid: 'u1', groups: ['g1', 'g2'] });
    expect(robot.user.authProvider).toEqual({
      name: 'tokenFile',
      config: { tokenFile: path.join(dir, 'robot.token') },
    });
    const plugged = await readKubeAccess({ kubeconfig: file, context: 'plugged' });
    expect(plugged.user.exec).toMatchObject({ command: path.join(dir, 'bin/login') });
  });

  it('lets --as replace the impersonation of the kubeconfig, groups and all', async () => {
    const access = await readKubeAccess({ kubeconfig: write('valid', VALID), context: 'robot', as: 'auditor' });
    expect(access.impersonate).toEqual({ user: 'auditor', groups: [] });
  });

  it('merges the files of KUBECONFIG, the first that states a name winning, and passes over missing ones', async () => {
    const first = write(
      'first',
      'clusters: [{name: two, cluster: {server: "https://mine.example"}}]\nusers: []\ncontexts: []\n',
    );
    const env = [path.join(dir, 'absent'), first, write('valid', VALID)].join(path.delimiter);
    const access = await readKubeAccess({ kubeconfigEnv: env });
    expect([access.context, access.cluster.server]).toEqual(['prod', 'https://mine.example']);
    expect(access.files).toHaveLength(2);
  });

  it.each([
    ['a missing file', { kubeconfig: '/nowhere/config' }, 'SP271', /does not exist/],
    ['no file at all', { kubeconfigEnv: '/nowhere/a' }, 'SP270', /--kubeconfig|do(?:es)? not exist/],
    ['no home', {}, 'SP270', /KUBECONFIG are not set/],
    ['an empty home', { home: '/nowhere' }, 'SP270', /\.kube\/config/],
  ] as const)('refuses %s', async (_title, options, code, message) => {
    const detail = await failure(options);
    expect(detail).toMatchObject({ code, exit: EXIT.usage });
    expect(detail.message).toMatch(message);
    expect(detail.hint).toContain('--kubeconfig');
  });

  it.each([
    ['nope', 'SP273', /no context "nope"/],
    ['plain', 'SP274', /not https/],
    ['named', 'SP274', /holds credentials/],
    ['odd', 'SP274', /not an address/],
    ['lost-ca', 'SP274', /certificate-authority .*nowhere\.crt.*ENOENT/],
    ['no-cluster', 'SP274', /its cluster "gone" is not there/],
    ['no-user', 'SP274', /its user "gone" is not there/],
    ['empty-plugin', 'SP274', /has no command/],
  ] as const)('refuses context %s', async (context, code, message) => {
    const detail = await failure({ kubeconfig: write('valid', VALID), context });
    expect(detail).toMatchObject({ code, exit: EXIT.usage });
    expect(detail.message).toMatch(message);
    expect(JSON.stringify(detail)).not.toContain('secret-word');
  });

  it('lists the contexts that there are', async () => {
    const detail = await failure({ kubeconfig: write('valid', VALID), context: 'nope' });
    expect(detail.hint).toMatch(/one of 10 contexts: "empty-plugin", "lost-ca", .*"robot"/);
  });

  const hostile: readonly (readonly [string, string, RegExp])[] = [
    ['nothing', '', /not YAML/],
    ['a text', 'just text', /not a mapping/],
    ['a list', '- 1', /not a mapping/],
    ['another kind', 'kind: Secret', /its kind is "Secret"/],
    ['a broken quote after a token', 'users:\n- user: {token: "s3cr3t-t0ken\nx: ]', /not YAML at line \d+/],
    ['an unknown alias', 'a: *b', /not YAML at line 1/],
    ['contexts that are a text', 'contexts: yes-please', /contexts is not a list/],
    ['a context without a name', 'contexts: [{context: {}}]', /contexts\[0\]\.name is missing/],
    ['a name that is a number', 'clusters: [{name: 5}]', /clusters\[0\]\.name is missing/],
  ];
  it.each(hostile)('refuses %s without quoting it', async (_title, text, message) => {
    const file = write('hostile', text);
    const detail = await failure({ kubeconfig: file });
    expect(detail).toMatchObject({ code: 'SP272', exit: EXIT.usage, where: file });
    expect(detail.message).toMatch(message);
    expect(JSON.stringify(detail)).not.toContain('s3cr3t');
  });

  it('is not polluted by the names in a kubeconfig', async () => {
    const text = VALID.replaceAll('prod', '__proto__').replace('jane, user', 'jane, __proto__: {polluted: yes}, user');
    const access = await readKubeAccess({ kubeconfig: write('proto', text) });
    expect(access.context).toBe('__proto__');
    expect(({} as Record<string, unknown>)['polluted']).toBeUndefined();
  });

  it('keeps control characters of names out of messages', async () => {
    const text = VALID.replace('name: prod', 'name: "\\e[31mred\\nline"');
    const detail = await failure({ kubeconfig: write('escape', text), context: 'x\u001b[2J' });
    expect(`${detail.message}${detail.hint ?? ''}`).not.toMatch(/[\u0000-\u001f]/);
  });

  it.each(['', 'a\r\nX-Injected: yes', 'a\u0000b'])('refuses to impersonate %j', async (as) => {
    expect(await failure({ kubeconfig: write('valid', VALID), as })).toMatchObject({ code: 'SP275', exit: EXIT.usage });
  });

  it('says so when a file may not be read', async () => {
    const file = write('locked', VALID);
    chmodSync(file, 0o000);
    // The superuser reads everything, so that only a directory is unreadable to all.
    const unreadable = process.getuid?.() === 0 ? dir : file;
    const detail = await failure({ kubeconfig: unreadable });
    expect(detail).toMatchObject({ code: 'SP271', exit: EXIT.usage });
    expect(detail.message).toMatch(/permission denied|it is a directory/);
  });
});

describe('in a pod', () => {
  const inCluster = (files: Readonly<Record<string, string>>) => {
    const at = mkdtempSync(path.join(dir, 'account-'));
    for (const [name, text] of Object.entries(files)) writeFileSync(path.join(at, name), text);
    return { host: '10.96.0.1', port: '443', dir: at };
  };
  const MOUNTED = { token: 'account-token', 'ca.crt': 'authority' };

  it('the service account is taken where no kubeconfig is there', async () => {
    const own = inCluster(MOUNTED);
    const access = await readKubeAccess({ home: path.join(dir, 'nobody'), inCluster: own });
    expect(access).toMatchObject({
      context: 'in-cluster',
      cluster: { server: 'https://10.96.0.1:443', caFile: path.join(own.dir, 'ca.crt'), skipTLSVerify: false },
      // By its file: the kubelet renews it.
      user: { authProvider: { name: 'tokenFile', config: { tokenFile: path.join(own.dir, 'token') } } },
    });
    expect(JSON.stringify(access)).not.toContain('account-token');
    expect(access.caSha256).not.toBe('');
    const six = await readKubeAccess({ inCluster: { ...own, host: 'fd00::1' }, context: 'in-cluster', as: 'jane' });
    expect(six).toMatchObject({ cluster: { server: 'https://[fd00::1]:443' }, impersonate: { user: 'jane' } });
  });

  it('a kubeconfig goes before it, and one that is named is never passed over', async () => {
    const own = inCluster(MOUNTED);
    const file = write('beside-account', VALID);
    expect(await readKubeAccess({ kubeconfigEnv: file, context: 'prod', inCluster: own })).toMatchObject({
      context: 'prod',
    });
    await expect(readKubeAccess({ kubeconfig: path.join(dir, 'not-there'), inCluster: own })).rejects.toMatchObject({
      detail: { code: 'SP271' },
    });
    await expect(
      readKubeAccess({ home: path.join(dir, 'nobody'), context: 'prod', inCluster: own }),
    ).rejects.toMatchObject({ detail: { code: 'SP270' } });
  });

  it.each([[{}], [{ token: 'x' }], [{ 'ca.crt': 'x' }], [{ token: ' ', 'ca.crt': 'x' }]])(
    'an account that is not mounted whole is said: %j',
    async (files: Readonly<Record<string, string>>) => {
      await expect(
        readKubeAccess({ home: path.join(dir, 'nobody'), inCluster: inCluster(files) }),
      ).rejects.toMatchObject({ detail: { code: 'SP269', exit: EXIT.usage } });
    },
  );
});
