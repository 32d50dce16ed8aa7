// What a shell is offered at Tab, in the protocol that kubectl speaks with its plugins, and bash itself with our script.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, it } from 'vitest';
import { CACHE_HOME } from '../support/sallyport.ts';
import { CLUSTER, CONFIG, EDGES, KUBECONFIG, documentOf, makeHome, sallyport } from './shop.ts';

const BIN = fileURLToPath(new URL('../../bin', import.meta.url));
const OFFLINE = ['--manifests', 'cluster', '--state', 'state.sqlite'];
let home = '';

beforeAll(async () => {
  home = await makeHome({ ...CLUSTER, 'config.yaml': CONFIG, 'edges.jsonl': EDGES, kubeconfig: KUBECONFIG });
  const imported = await sallyport([...OFFLINE, 'observe', 'edges', 'edges.jsonl'], { home });
  expect(imported.code, imported.stderr).toBe(0);
});

/** The words offered, without what they are, and the directive. */
async function offered(...words: readonly string[]): Promise<readonly [readonly string[], number]> {
  const { code, stdout, stderr } = await sallyport(['__complete', ...words], { home });
  expect([code, stderr]).toEqual([0, '']);
  const lines = stdout.trimEnd().split('\n');
  expect(lines.at(-1)).toMatch(/^:\d+$/);
  return [lines.slice(0, -1).map((line) => line.split('\t')[0] ?? ''), Number(lines.at(-1)?.slice(1))];
}

const [NO_SPACE, NO_FILES, FOLDERS] = [2, 4, 16];

describe('what may stand next', () => {
  it.each<readonly [string, readonly string[], readonly string[], number]>([
    ['a command', ['roll'], ['rollback'], NO_FILES],
    ['a command behind flags', [...OFFLINE, 'ver'], ['verify'], NO_FILES],
    ['a namespace of the manifests', [...OFFLINE, 'plan', 'sh'], ['shop'], NO_FILES],
    ['a second namespace where several are taken', [...OFFLINE, 'tune', 'shop', 'de'], ['desk'], NO_FILES],
    ['nothing where nothing is taken', [...OFFLINE, 'resume', ''], [], NO_FILES],
    ['a phase', ['advance', 'shop', '--to', 'per'], ['permissive-mtls'], NO_FILES],
    ['a phase behind =', ['advance', 'shop', '--to=per'], ['--to=permissive-mtls'], NO_FILES],
    ['none for the way back alone', ['rollback', 'shop', '--to', 'no'], ['none'], NO_FILES],
    ['no way forward to none', ['advance', 'shop', '--to', 'no'], [], NO_FILES],
    ['a flag of the command', ['advance', 'shop', '--det'], ['--detach'], NO_FILES],
    ['a flag of all commands', ['advance', 'shop', '--manif'], ['--manifests'], NO_FILES],
    ['a source', ['observe', 'hub'], ['hubble'], NO_FILES],
    ['a choice', ['observe', 'hubble', '--bad-records', 's'], ['skip'], NO_FILES],
    ['a format', ['status', '-o', 'y'], ['yaml'], NO_FILES],
    ['a key of a query', ['accept', 's'], ['src='], NO_FILES + NO_SPACE],
    ['a key behind a comma', ['waive', 'gate=soak,s'], ['gate=soak,subject='], NO_FILES + NO_SPACE],
    [
      'a workload in a query',
      [...OFFLINE, 'accept', 'src=desk/'],
      ['src=desk/Deployment/toolbox'],
      NO_FILES + NO_SPACE,
    ],
    ['a workload', [...OFFLINE, 'reach', '--to', 'shop/Deployment/d'], ['shop/Deployment/db'], NO_FILES],
    ['a context', ['--kubeconfig', 'kubeconfig', 'status', '--context', ''], ['one'], NO_FILES],
    ['files', ['observe', 'hubble', 'f'], [], 0],
    ['folders', ['status', '--manifests', 'cl'], [], FOLDERS],
  ])('is %s', async (_, words, wanted, directive) => {
    expect(await offered(...words)).toEqual([wanted, directive]);
  });

  it('is not what help hides', async () => {
    const [commands] = await offered('');
    expect(commands).toEqual(expect.arrayContaining(['plan', 'status', 'completion']));
    expect(commands.filter((one) => one.startsWith('_'))).toEqual([]);
  });

  it('says in what phase a namespace is', async () => {
    const { stdout } = await sallyport(['__complete', ...OFFLINE, 'plan', 'sh'], { home });
    expect(stdout).toBe('shop\tnone\n:4\n');
  });

  it.each([
    ['the cluster does not answer', ['--kubeconfig', 'kubeconfig', 'plan', 's']],
    ['there is no kubeconfig', ['plan', 's']],
    ['the state is no state', ['--manifests', 'cluster', '--state', 'edges.jsonl', 'reach', '--to', 'q']],
    ['the directory is not there', ['--manifests', 'nowhere', 'plan', 's']],
  ])('is nothing, without a word, where %s', async (_, words) => {
    expect((await offered(...words))[0]).toEqual([]);
  });
});

describe('the script for bash', () => {
  function bash(line: string): readonly string[] {
    const script = `
      source <(sallyport completion bash)
      compopt() { :; }
      COMP_LINE="$1"; COMP_POINT=\${#1}; _sallyport; printf '%s\\n' "\${COMPREPLY[@]}"`;
    const env = {
      PATH: `${home}/bin:${process.env['PATH'] ?? ''}`,
      HOME: home,
      XDG_CACHE_HOME: CACHE_HOME,
      XDG_STATE_HOME: join(home, 'xdg'),
    };
    const { stdout, stderr } = spawnSync('bash', ['--norc', '-c', script, 'bash', line], {
      cwd: home,
      env,
      encoding: 'utf8',
    });
    expect(stderr).toBe('');
    return stdout.split('\n').filter((word) => word !== '');
  }

  beforeAll(async () => {
    await import('node:fs/promises').then(({ mkdir }) => mkdir(join(home, 'bin')));
    await symlink(process.execPath, join(home, 'bin/node'));
    for (const name of ['sallyport', 'kubectl-sallyport', 'kubectl_complete-sallyport'])
      await symlink(join(BIN, `${name}.js`), join(home, 'bin', name));
  });

  it.each([
    ['sallyport rollb', ['rollback']],
    [`sallyport ${OFFLINE.join(' ')} plan d`, ['desk']],
    // What stands before = or : stays on the line.
    [`sallyport ${OFFLINE.join(' ')} accept src=desk/`, ['desk/Deployment/toolbox']],
    ['sallyport status --manifests cl', ['cluster']],
    ['sallyport observe edges ed', ['edges.jsonl']],
  ])('completes %s', (line, wanted) => {
    expect(bash(line)).toEqual(wanted);
  });

  it('never runs what a namespace is called', async () => {
    await writeFile(
      join(home, 'cluster/hostile.yaml'),
      'apiVersion: v1\nkind: Namespace\nmetadata: {name: "evil$(touch owned);x"}\n',
    );
    expect(bash(`sallyport ${OFFLINE.join(' ')} plan ev`)).toEqual([]);
    expect(existsSync(join(home, 'owned'))).toBe(false);
    await rm(join(home, 'cluster/hostile.yaml'));
  });

  it('has kubectl ask the plugin, and run it', () => {
    const env = { PATH: `${home}/bin:${process.env['PATH'] ?? ''}`, HOME: home, XDG_CACHE_HOME: CACHE_HOME };
    const ask = (name: string, ...args: readonly string[]): string =>
      spawnSync(join(home, 'bin', name), args, { cwd: home, env, encoding: 'utf8' }).stdout;
    expect(ask('kubectl_complete-sallyport', 'roll')).toBe('rollback\tthe same, backwards, from the record\n:4\n');
    expect(ask('kubectl-sallyport', '--version')).toMatch(/^\d+\.\d+\.\d+\n$/);
  });
});

describe('formats', () => {
  it('are names for other commands, YAML, or lines that nothing breaks', async () => {
    const run = async (...args: readonly string[]): Promise<string> => {
      const ended = await sallyport([...OFFLINE, ...args], { home });
      expect(ended.code, ended.stderr).toBe(0);
      return ended.stdout;
    };
    expect(await run('inventory', '--namespace', 'shop', '-o', 'name')).toBe(
      'shop/Deployment/db\nshop/Deployment/web\n',
    );
    const json = documentOf(await sallyport([...OFFLINE, 'flows', '-o', 'json'], { home }));
    const { parse } = await import('yaml');
    expect(parse(await run('flows', '-oyaml'))).toEqual(json);
    const ids = (json['edges'] as readonly { readonly id: string }[]).map(({ id }) => id);
    expect(await run('flows', '--output=name')).toBe(`${ids.join('\n')}\n`);
    const cells = (text: string): string => text.replace(/\s+/g, ' ');
    const [wide, narrow] = [await run('inventory', '-o', 'wide'), await run('inventory')];
    expect(wide.split('\n').length).toBeLessThan(narrow.split('\n').length);
    expect(cells(wide)).toBe(cells(narrow));
  });

  it('cannot be two at once', async () => {
    const ended = await sallyport([...OFFLINE, 'status', '--json', '-o', 'name'], { home });
    expect([ended.code, documentOf(ended).kind]).toEqual([2, 'Error']);
  });
});

describe('for programs', () => {
  it('--progress json tells each event as a line, and a failure too', async () => {
    const decided = ['--config', 'config.yaml', '--now', '2026-10-10T00:00:00Z'];
    const ended = await sallyport(
      [...OFFLINE, ...decided, 'advance', 'desk', '--to', 'monitor', '--yes', '--progress', 'json', '--json'],
      { home },
    );
    const events = ended.stderr
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as { readonly at: string; readonly event: string });
    expect(events.map(({ event }) => event)).toEqual(
      expect.arrayContaining(['step-started', 'step-done', 'phase-reached']),
    );
    expect(events.every(({ at }) => !Number.isNaN(Date.parse(at)))).toBe(true);
    const failed = await sallyport([...OFFLINE, 'plan', 'nowhere', '--progress=json'], { home });
    expect(failed.code).toBe(2);
    expect(JSON.parse(failed.stderr.trimEnd().split('\n').at(-1) ?? '')).toMatchObject({
      event: 'error',
      error: { code: 'SP215' },
      exit: 2,
    });
  });

  it('status --watch shows it again when it changed, and ends at Ctrl-C', async () => {
    const pages: string[] = [];
    const ended = await sallyport([...OFFLINE, 'status', '--watch'], {
      home,
      onStart: (child) => {
        child.stdout?.on('data', (text: string) => {
          pages.push(text);
          if (pages.length === 1)
            void sallyport([...OFFLINE, '--config', 'config.yaml', 'rollback', 'desk', '--to', 'none', '--yes'], {
              home,
            });
          else child.kill('SIGINT');
        });
      },
    });
    expect(ended.code).toBe(130);
    expect(pages[0]).toMatch(/desk\n {2}phase monitor/);
    expect(pages.at(-1)).not.toMatch(/phase monitor/);
  });
});
