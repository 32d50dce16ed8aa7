// How long a person waits for the shortest answers: the whole process, beside kubectl's own.   npm run bench -- start [ROUNDS] [EXECUTABLE]
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { findOrBuildKubectl } from '../support/kubectl/build.ts';

const PROGRAM = fileURLToPath(new URL('../../bin/sallyport.js', import.meta.url));
const EXAMPLE = fileURLToPath(new URL('../../examples/fraud-detection', import.meta.url));
const rounds = Number(process.argv[2] ?? 20);
const executable = process.argv[3];
const kubectl = join(findOrBuildKubectl(), 'kubectl');
const home = mkdtempSync(join(tmpdir(), 'sallyport-start-'));
const env = { PATH: process.env['PATH'], HOME: home, XDG_STATE_HOME: home };

function timed(command: string, args: readonly string[]): number {
  const from = process.hrtime.bigint();
  const { status, stderr } = spawnSync(command, args, { cwd: home, env, encoding: 'utf8' });
  const took = Number(process.hrtime.bigint() - from) / 1e6;
  if (status !== 0) throw new Error(`${command} ${args.join(' ')} ended with ${String(status)}: ${stderr}`);
  return took;
}

try {
  const offline = ['--manifests', join(EXAMPLE, 'cluster'), '--state', 'state.sqlite'];
  writeFileSync(
    join(home, 'kubeconfig'),
    '{"apiVersion": "v1", "kind": "Config", "current-context": "c", "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}], "users": [{"name": "u", "user": {}}], "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1"}}]}',
  );
  const ours = (...args: readonly string[]): readonly [string, readonly string[]] => [
    process.execPath,
    [PROGRAM, ...args],
  ];
  const cases: readonly (readonly [string, readonly [string, readonly string[]]])[] = [
    ['node -e 0', [process.execPath, ['-e', '0']]],
    ['sallyport --version', ours('--version')],
    ['sallyport --help', ours('--help')],
    ['sallyport status', ours('status', ...offline)],
    ['sallyport __complete plan (Tab)', ours('__complete', ...offline, 'status', '-o', '')],
    ...(executable === undefined ? [] : [['the executable: status', [executable, ['status', ...offline]]] as const]),
    ['kubectl --help', [kubectl, ['--help']]],
    ['kubectl config get-contexts', [kubectl, ['config', 'get-contexts', '--kubeconfig', 'kubeconfig']]],
  ];
  const figures = new Map<string, number[]>(cases.map(([name]) => [name, []]));
  // The first round compiles and makes the state; then in turn, so that what else the machine does meets all alike.
  for (let round = 0; round <= rounds; round += 1)
    for (const [name, [command, args]] of cases) {
      const took = timed(command, args);
      if (round > 0) figures.get(name)?.push(took);
    }
  process.stdout.write(`| whole process, ms, ${rounds} rounds in turn | min | median | max |\n|---|--:|--:|--:|\n`);
  for (const [name, times] of figures) {
    const sorted = times.toSorted((a, b) => a - b);
    const cells = [sorted[0], sorted[Math.floor(sorted.length / 2)], sorted.at(-1)];
    process.stdout.write(`| ${name} | ${cells.map((one) => (one ?? 0).toFixed(0)).join(' | ')} |\n`);
  }
} finally {
  rmSync(home, { recursive: true, force: true });
}
