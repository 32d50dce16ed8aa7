// The batch job with credentials that end by themselves: what it asks for, what it leaves behind, and what the policies let through.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, readdirSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { assembleUp } from '../../src/plan/assemble.ts';
import { judgeEdges } from '../../src/plan/simulate.ts';
import { applyToObjects } from '../../src/plan/change.ts';
import { objectsOf, snapshotOf } from '../phases/worlds.ts';
import { CONFIG, edgeOf, edgesOf, plannerFor, viewOf } from '../support/rig.ts';
import { ROOT } from '../support/imports.ts';

const EXAMPLE = join(ROOT, 'examples/cloud-batch');
const read = (file: string): string => readFileSync(join(EXAMPLE, file), 'utf8');

interface Asked {
  readonly method: string;
  readonly url: string;
  readonly headers: NodeJS.Dict<string | string[]>;
  readonly body: string;
}

let close: (() => Promise<void>) | undefined;
afterEach(async () => {
  await close?.();
  close = undefined;
});

/** The three servers in one; `status` is what the second answers with. */
async function serve(asked: Asked[], status = 200): Promise<number> {
  const server = createServer((request, response) => {
    let body = '';
    request.on('data', (piece: Buffer) => (body += piece.toString()));
    request.on('end', () => {
      const url = request.url ?? '';
      asked.push({ method: request.method ?? '', url, headers: request.headers, body });
      const [code, answer] = url.startsWith('/computeMetadata')
        ? [200, { access_token: 'own-token', expires_in: 3000 }]
        : url.endsWith(':generateAccessToken')
          ? [status, { accessToken: 'short-token' }]
          : url.includes('pageToken=2')
            ? [200, { items: [{ name: 'c' }] }]
            : [200, { items: [{ name: 'a' }, { name: 'b' }], nextPageToken: '2' }];
      response.writeHead(code, { 'content-type': 'application/json' });
      response.end(JSON.stringify(answer));
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  close = async () => {
    server.close();
    await once(server, 'close');
  };
  return (server.address() as AddressInfo).port;
}

async function run(port: number): Promise<{ readonly code: number; readonly said: string }> {
  const job = spawn('python3', ['-I', join(EXAMPLE, 'job.py')], {
    env: {
      PATH: process.env['PATH'] ?? '',
      GCE_METADATA_HOST: `127.0.0.1:${port}`,
      IAM_CREDENTIALS_URL: `http://127.0.0.1:${port}`,
      STORAGE_URL: `http://127.0.0.1:${port}`,
      TARGET_SERVICE_ACCOUNT: 'features-read@example-ml.iam.gserviceaccount.com',
      BUCKET: 'example-ml-features',
      http_proxy: 'http://127.0.0.1:9',
    },
  });
  let said = '';
  for (const stream of [job.stdout, job.stderr]) stream.on('data', (piece: Buffer) => (said += piece.toString()));
  const [code] = (await once(job, 'close')) as [number];
  return { code, said };
}

describe('the job', () => {
  it('asks for ten minutes of reading, and writes no token anywhere', async () => {
    const asked: Asked[] = [];
    const { code, said } = await run(await serve(asked));
    expect({ code, said }).toEqual({ code: 0, said: '3 objects in example-ml-features\n' });
    expect(asked.map(({ method }) => method)).toEqual(['GET', 'POST', 'GET', 'GET']);
    expect(asked[0]?.headers['metadata-flavor']).toBe('Google');
    expect(asked[1]?.headers['authorization']).toBe('Bearer own-token');
    expect(JSON.parse(asked[1]?.body ?? '')).toEqual({
      scope: ['https://www.googleapis.com/auth/devstorage.read_only'],
      lifetime: '600s',
    });
    for (const call of asked.slice(2)) expect(call.headers['authorization']).toBe('Bearer short-token');
  });

  it('ends with the place that refused it, and no token', async () => {
    const { code, said } = await run(await serve([], 403));
    expect(code).toBe(1);
    expect(said).toBe('refused: 403 by 127.0.0.1\n');
  });
});

describe('the policies', () => {
  const objects = readdirSync(join(EXAMPLE, 'cluster')).flatMap((file) => objectsOf(read(`cluster/${file}`)));
  const view = viewOf(snapshotOf(objects), 'ml', {
    edges: edgesOf(read('edges.txt')),
    config: { ...CONFIG, cluster: { ...CONFIG.cluster, cni: { name: 'calico', ipBlockMatches: ['nodes'] } } },
  });
  const plan = assembleUp(view, 'allow-list', plannerFor('directory'));
  const after = plan.steps.reduce((now, step) => applyToObjects(now, step.change), view.snapshot.objects);
  const inventory = view.rebuild({ ...view.snapshot, objects: after });
  const answer = (text: string): string | undefined => {
    const edge = edgeOf(text);
    return judgeEdges(inventory, [edge]).get(edge.id)?.answer;
  };

  it.each([
    ['ml/CronJob/features -> external:169.254.169.252 988', 'allowed'],
    ['ml/CronJob/features -> external:199.36.153.4 443', 'allowed'],
    // What a pod dials; where policies look it has become the address above, and nothing else may be dialled there.
    ['ml/CronJob/features -> external:169.254.169.254 80', 'denied'],
    ['ml/CronJob/features -> external:198.51.100.7 443', 'denied'],
    ['ml/Deployment/notebook -> external:198.51.100.7 443', 'allowed'],
    ['ml/Deployment/notebook -> external:169.254.169.252 988', 'denied'],
    ['ml/Deployment/notebook -> external:169.254.169.254 80', 'denied'],
    ['ml/Deployment/notebook -> external:199.36.153.4 443', 'denied'],
  ])('%s is %s', (edge, wanted) => {
    expect(answer(edge)).toBe(wanted);
  });

  it('hold no key, and put no token of the API server into the job', () => {
    expect(view.inventory.findings.filter(({ code }) => code === 'SP362')).toEqual([]);
    expect(read('cluster/ml.yaml')).toContain('automountServiceAccountToken: false');
  });
});
