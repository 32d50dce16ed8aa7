// Custom resource definitions of others, read at test time from the Go modules that publish them.
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { ApiClient } from './client.ts';

export interface CrdSource {
  readonly module: string;
  readonly version: string;
  /** The module's checksum, as a go.sum line has it. */
  readonly sum: string;
  /** Path of a file in the module, its documents separated by `---`. */
  readonly file: string;
}

export const crdSources: readonly CrdSource[] = [
  {
    module: 'istio.io/api',
    version: 'v1.31.1',
    sum: 'h1:5Yb5ihcz4YQsCkciusK7DnFpBMwRB6EFWeUKH1Atuyk=',
    file: 'kubernetes/customresourcedefinitions.gen.yaml',
  },
  {
    module: 'github.com/kubeflow/training-operator',
    version: 'v1.8.1',
    sum: 'h1:mVvoBSCInbMBX0gGSn4+Ihj3ycwoLO1iEAw+0qPhQfc=',
    file: 'manifests/base/crds/kubeflow.org_pytorchjobs.yaml',
  },
];

/**
 * Applies the definitions of Istio and of PyTorchJob and waits until each is served (one minute at most). Returns their
 * names. Errors: no `go` on PATH, a module that cannot be had or has another checksum, a definition that is refused.
 */
export async function installCrds(client: ApiClient): Promise<readonly string[]> {
  return installDefinitions(client, crdSources.flatMap(readDefinitions));
}

/** Applies definitions and waits until each is served. Returns their names. */
export async function installDefinitions(
  client: ApiClient,
  definitions: readonly Definition[],
): Promise<readonly string[]> {
  for (const { name, yaml } of definitions) {
    // Server-side apply, since the definitions are too large for an annotation, and the server reads YAML by itself.
    await client.must(
      'PATCH',
      `/apis/apiextensions.k8s.io/v1/customresourcedefinitions/${name}?fieldManager=crd-installer&force=true`,
      yaml,
      'application/apply-patch+yaml',
    );
  }
  for (const { name } of definitions) await waitEstablished(client, name);
  return definitions.map(({ name }) => name);
}

export interface Definition {
  readonly name: string;
  readonly yaml: string;
}

/** The definitions in a file of a Go module. */
export function readDefinitions(source: CrdSource): readonly Definition[] {
  const file = path.join(downloadModule(source), source.file);
  return readFileSync(file, 'utf8')
    .split(/^---$/m)
    .filter((document) => document.includes('\nkind: CustomResourceDefinition'))
    .map((yaml) => {
      const name = /^ {2}name: "?([^\s"]+)"?$/m.exec(yaml)?.[1];
      if (name === undefined) throw new Error(`${file}: a CustomResourceDefinition without metadata.name`);
      return { name, yaml };
    });
}

function downloadModule(source: CrdSource): string {
  const wanted = `${source.module}@${source.version}`;
  // Outside of any module, so that no go.mod has a say in it.
  const result = spawnSync('go', ['mod', 'download', '-json', wanted], { encoding: 'utf8', cwd: tmpdir() });
  if (result.error !== undefined) {
    throw new Error(
      `the API server tests read definitions from Go modules: put \`go\` on PATH (${result.error.message})`,
    );
  }
  if (result.status !== 0) throw new Error(`go mod download ${wanted} failed: ${result.stdout}${result.stderr}`);
  const answer: unknown = JSON.parse(result.stdout);
  if (typeof answer !== 'object' || answer === null || !('Dir' in answer) || typeof answer.Dir !== 'string') {
    throw new Error(`go mod download ${wanted} named no directory: ${result.stdout}`);
  }
  if (!('Sum' in answer) || answer.Sum !== source.sum) throw new Error(`${wanted}: the checksum is not ${source.sum}`);
  return answer.Dir;
}

interface DefinitionStatus {
  readonly spec: {
    readonly group: string;
    readonly names: { readonly plural: string };
    readonly versions: readonly { readonly name: string; readonly served: boolean }[];
  };
  readonly status?: {
    readonly conditions?: readonly { readonly type: string; readonly status: string; readonly message?: string }[];
  };
}

async function waitEstablished(client: ApiClient, name: string): Promise<void> {
  const deadline = Date.now() + 60_000;
  const url = `/apis/apiextensions.k8s.io/v1/customresourcedefinitions/${name}`;
  for (;;) {
    const { spec, status } = (await client.must('GET', url)).body as DefinitionStatus;
    const conditions = status?.conditions ?? [];
    const isEstablished = conditions.some(({ type, status: value }) => type === 'Established' && value === 'True');
    // The storage is made ready after that; until then every version answers 404 or 429.
    if (isEstablished && (await Promise.all(collectionsOf(spec).map((path) => isServed(client, path)))).every(Boolean))
      return;
    if (Date.now() > deadline) throw new Error(`${name} is not served after a minute: ${JSON.stringify(conditions)}`);
    await delay(50);
  }
}

function collectionsOf({ group, names, versions }: DefinitionStatus['spec']): readonly string[] {
  return versions.filter(({ served }) => served).map(({ name }) => `/apis/${group}/${name}/${names.plural}?limit=1`);
}

async function isServed(client: ApiClient, path: string): Promise<boolean> {
  return (await client.request('GET', path)).status === 200;
}
