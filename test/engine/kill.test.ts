// The program itself, killed by the operating system wherever it happens to be.
import type { ChildProcess } from 'node:child_process';
import { execFile, spawn } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readTree } from '../support/folder.ts';
import { copyTwoTeams, twoTeamsEdges } from '../support/rig.ts';
import { endpointKey } from '../../src/model/edge.ts';

const LAUNCHER = new URL('../../bin/sallyport.js', import.meta.url).pathname;
const FIXTURE = new URL('../fixtures/two-teams/', import.meta.url).pathname;
const SEEDS = [1, 2, 3, 4, 5];
const STEPS = 15;

let root: string;
let cluster: string;
let start: unknown;
let end: unknown;

const flags = (): readonly string[] => [
  '--manifests',
  cluster,
  '--state',
  join(root, 'world', 'state.sqlite'),
  '--config',
  join(FIXTURE, 'config.yaml'),
  '--decisions',
  join(FIXTURE, 'decisions.yaml'),
  '--yes',
  '--json',
];

interface Answer {
  readonly exit: number;
  readonly document: Readonly<Record<string, unknown>>;
}

function sallyport(...args: readonly string[]): Promise<Answer> {
  return new Promise((resolve, reject) => {
    execFile(process.execPath, [LAUNCHER, ...args, ...flags()], (error, stdout, stderr) => {
      try {
        const document = JSON.parse(stdout) as Answer['document'];
        resolve({ exit: typeof error?.code === 'number' ? error.code : 0, document });
      } catch {
        reject(new Error(`${args.join(' ')}: ${stdout}\n${stderr}`));
      }
    });
  });
}

/** Starts the run and kills it at the n-th sign of life. True when it was killed and did not end by itself. */
function killedAt(sign: number): Promise<boolean> {
  return new Promise((resolve) => {
    const child: ChildProcess = spawn(
      process.execPath,
      [LAUNCHER, 'advance', 'front', '--to', 'permissive-mtls', ...flags()],
      { stdio: ['ignore', 'ignore', 'pipe'] },
    );
    let signs = 0;
    child.stderr?.on('data', (chunk: Buffer) => {
      signs += chunk.toString('utf8').split('\n').length - 1;
      if (signs >= sign) child.kill('SIGKILL');
    });
    child.on('close', (_code, signal) => resolve(signal === 'SIGKILL'));
  });
}

function reset(): void {
  rmSync(join(root, 'world'), { recursive: true, force: true });
  cpSync(join(root, 'observed'), join(root, 'world'), { recursive: true });
}

/** A small generator, so that a seed names one history (Park and Miller). */
function pick(seed: number, below: number): number {
  let value = seed * 7919;
  for (let round = 0; round < 5; round += 1) value = (value * 48_271) % 2_147_483_647;
  return value % below;
}

beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), 'sallyport-kill-'));
  const world = join(root, 'world');
  cluster = copyTwoTeams(world);
  start = await readTree(cluster);
  const file = join(root, 'edges.jsonl');
  const lines = twoTeamsEdges().flatMap((edge) =>
    edge.days.map((day) =>
      JSON.stringify({
        first: `${day}T10:00:00Z`,
        last: `${day}T11:59:00Z`,
        src: { workload: endpointKey(edge.src) },
        dst: edge.dst.kind === 'external' ? { ip: edge.dst.ip } : { workload: endpointKey(edge.dst) },
        protocol: edge.protocol,
        port: edge.port,
        count: 10,
        verdict: 'allowed',
        ...(edge.l7 === undefined ? {} : { l7: edge.l7 }),
      }),
    ),
  );
  writeFileSync(file, `${lines.join('\n')}\n`);
  expect((await sallyport('observe', 'edges', file)).exit).toBe(0);
  cpSync(world, join(root, 'observed'), { recursive: true });
  const result = await sallyport('advance', 'front', '--to', 'permissive-mtls');
  expect(result).toMatchObject({ exit: 0, document: { outcome: 'done', phase: 'permissive-mtls' } });
  expect(result.document['done']).toHaveLength(STEPS);
  end = await readTree(cluster);
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

describe('a run that the system kills', () => {
  it.each(SEEDS)('is finished by resume, or taken back by rollback: seed %i', async (seed) => {
    const sign = 1 + pick(seed, STEPS);
    reset();
    await killedAt(sign);
    const resumed = await sallyport('resume');
    expect(resumed.exit, JSON.stringify(resumed.document)).toBe(0);
    const { document } = await sallyport('status');
    const [front] = document['namespaces'] as readonly { readonly namespace: string; readonly phase: string }[];
    // Killed before the run was on record: nothing was written, and there is nothing to resume.
    expect(await readTree(cluster)).toEqual(front?.phase === 'permissive-mtls' ? end : start);

    reset();
    await killedAt(sign);
    const back = await sallyport('rollback', 'front', '--to', 'none');
    if (back.exit === 0) expect(back.document).toMatchObject({ outcome: 'done', phase: 'none' });
    else expect(back).toMatchObject({ exit: 2, document: { error: { code: 'SP224' } } });
    expect(await readTree(cluster)).toEqual(start);
  });

  it('is refused a new run until it is finished or taken back', async () => {
    reset();
    let open = false;
    for (let sign = 4; !open && sign < STEPS; sign += 1) {
      reset();
      await killedAt(sign);
      const answer = await sallyport('advance', 'front', '--to', 'permissive-mtls');
      open = answer.exit === 3;
      if (open) expect(answer.document).toMatchObject({ error: { code: 'SP607' } });
    }
    expect(open).toBe(true);
  });

  it('shows a foreign change of a field of ours with its three versions, exit 3', async () => {
    reset();
    await sallyport('advance', 'front', '--to', 'permissive-mtls');
    const file = join(cluster, 'sallyport/front/peerauthentication-sallyport-default.yaml');
    const ours = readFileSync(file, 'utf8');
    writeFileSync(file, ours.replace('PERMISSIVE', 'DISABLE'));
    const answer = await sallyport('rollback', 'front', '--to', 'none');
    expect(answer).toMatchObject({ exit: 3, document: { error: { code: 'SP606' } } });
    const { where } = answer.document['error'] as { readonly where: string };
    expect(where).toMatch(/before \(absent\).*ours .*PERMISSIVE.*now .*DISABLE/u);
    writeFileSync(file, ours);
    expect((await sallyport('rollback', 'front', '--to', 'none')).exit).toBe(0);
    expect(await readTree(cluster)).toEqual(start);
  });
});
