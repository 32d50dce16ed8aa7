// The single-file executable, as somebody without Node would use it.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ROOT } from '../support/imports.ts';

let dir = '';
let made = '';

interface Outcome {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Nothing on the PATH, and a home that holds nothing. */
function start(program: string, args: readonly string[], home = join(dir, 'home')): Outcome {
  const env = { HOME: home, PATH: '/nonexistent', NO_COLOR: '1' };
  const done = spawnSync(program, args, { cwd: dir, env, stdio: ['ignore', 'pipe', 'pipe'], encoding: 'utf8' });
  if (done.error !== undefined) throw done.error;
  return { code: done.status, stdout: done.stdout, stderr: done.stderr };
}

beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'sallyport-executable-test-'));
  mkdirSync(join(dir, 'home'));
  const out = join(dir, 'out');
  const built = spawnSync(process.execPath, [join(ROOT, 'scripts/executable.js'), '--out', out], { encoding: 'utf8' });
  if (built.status !== 0) throw new Error(`the executable was not made:\n${built.stderr}`);
  made = built.stdout.trim();
});

afterAll(() => {
  rmSync(dir, { recursive: true, force: true });
});

describe('the executable', () => {
  it('is one file with its checksum beside it', () => {
    const [name, sums] = [basename(made), readFileSync(join(made, '../SHA256SUMS'), 'utf8')];
    expect(sums).toBe(`${createHash('sha256').update(readFileSync(made)).digest('hex')}  ${name}\n`);
  });

  it('runs without Node, npm or a checkout: the whole demo, and a report', () => {
    const demo = start(made, ['demo', '--keep', 'kept']);
    expect(demo.code, demo.stderr).toBe(0);
    expect(demo.stdout).toContain('byte for byte what it was: yes');
    const assessed = start(made, ['assess', '--manifests', 'kept/cluster', '-o', 'report.html']);
    expect(assessed.code, assessed.stderr).toBe(0);
    expect(readFileSync(join(dir, 'report.html'), 'utf8')).toContain('cytoscape');
  });

  it('reads large recordings in threads', () => {
    const line = (n: number): string =>
      JSON.stringify({
        flow: {
          time: `2026-11-01T10:00:${String(n % 60).padStart(2, '0')}Z`,
          verdict: 'FORWARDED',
          IP: { source: '10.0.0.1', destination: '10.0.0.2' },
          l4: { TCP: { source_port: 40000 + (n % 20000), destination_port: 8080, flags: { SYN: true } } },
          source: { namespace: 'fraud-serving', pod_name: 'scoring-api-1' },
          destination: { namespace: 'fraud-features', pod_name: 'store-1' },
          Type: 'L3_L4',
          traffic_direction: 'EGRESS',
          is_reply: false,
        },
      });
    writeFileSync(join(dir, 'flows.json'), `${Array.from({ length: 60_000 }, (_, n) => line(n)).join('\n')}\n`);
    const observed = start(made, ['observe', 'hubble', 'flows.json', '--manifests', 'kept/cluster', '--json']);
    expect(observed.code, observed.stderr).toBe(0);
    expect(observed.stdout).toMatch(/"records": 60000/);
  });

  it('asks an API server', async () => {
    const asked: string[] = [];
    const server = createServer((request, response) => {
      asked.push(request.url ?? '');
      response.writeHead(403, { 'content-type': 'application/json' });
      response.end('{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Forbidden","code":403}');
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    writeFileSync(
      join(dir, 'kubeconfig'),
      `{"apiVersion": "v1", "kind": "Config", "current-context": "c", "users": [{"name": "u", "user": {}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:${port}", "insecure-skip-tls-verify": true}}]}`,
    );
    const { spawn } = await import('node:child_process');
    const child = spawn(made, ['inventory', '--kubeconfig', 'kubeconfig'], {
      cwd: dir,
      env: { HOME: join(dir, 'home'), PATH: '/nonexistent' },
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    let stderr = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
    const code = await new Promise((resolve) => child.once('close', resolve));
    server.close();
    expect(code, stderr).toBe(4);
    expect(stderr).toMatch(/SP4\d\d/);
    expect(asked.length).toBeGreaterThan(0);
  });

  it('is unpacked once, for its user alone, and runs on where nothing can be kept', () => {
    const cache = join(dir, 'home/.cache/sallyport');
    const programs = readdirSync(cache).filter((name) => name.startsWith('program-'));
    expect(programs).toHaveLength(1);
    expect(statSync(join(cache, programs[0] ?? '')).mode & 0o777).toBe(0o700);
    writeFileSync(join(dir, 'no-folder'), '');
    const passing = start(made, ['--version'], join(dir, 'no-folder'));
    expect([passing.code, passing.stderr]).toEqual([0, '']);
  });

  it('does not run what another may have put there', () => {
    const cache = join(dir, 'other/.cache/sallyport');
    mkdirSync(cache, { recursive: true });
    const [name = ''] = readdirSync(join(dir, 'home/.cache/sallyport')).filter((one) => one.startsWith('program-'));
    const planted = join(cache, name);
    mkdirSync(join(planted, 'dist/src'), { recursive: true, mode: 0o777 });
    spawnSync('chmod', ['777', planted]);
    writeFileSync(join(planted, 'package.json'), '{"type": "module"}');
    writeFileSync(join(planted, 'dist/src/main.js'), "export const main = () => console.log('planted');");
    const ended = start(made, ['--version'], join(dir, 'other'));
    expect([ended.code, ended.stderr]).toEqual([0, '']);
    expect(ended.stdout).not.toContain('planted');
  });

  it('is a plugin of kubectl under its names', () => {
    mkdirSync(join(dir, 'bin'));
    for (const name of ['kubectl-sallyport', 'kubectl_complete-sallyport']) symlinkSync(made, join(dir, 'bin', name));
    expect(start(join(dir, 'bin/kubectl-sallyport'), ['--version']).stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
    expect(start(join(dir, 'bin/kubectl_complete-sallyport'), ['roll']).stdout).toMatch(/^rollback\t.*\n:4\n$/);
  });
});

describe('what is shipped beside it', () => {
  it('is a container file whose base brings a Node that is new enough, and no rights', () => {
    const text = readFileSync(join(ROOT, 'Containerfile'), 'utf8');
    const { engines } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
      readonly engines: { readonly node: string };
    };
    const base = /^FROM \S*node:(\d+)/m.exec(text)?.[1];
    expect(Number(base)).toBeGreaterThanOrEqual(Number(/\d+/.exec(engines.node)?.[0]));
    expect(text).toMatch(/^USER [1-9]/m);
    expect(text).toMatch(/--ignore-scripts/);
    expect(existsSync(join(ROOT, '.dockerignore'))).toBe(true);
  });
});
