import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { main } from '../../src/main.ts';

// Everything that a tenant may write in a cluster and whoever makes records in a record, through every command that prints it.

const EVIL = [
  '$(:>PWNED1)',
  '`:>PWNED2`',
  '";:>PWNED3;"',
  "';:>PWNED4;'",
  '| :>PWNED5',
  '\n:>PWNED6\n',
  '\u001b[2J\u001b]0;owned\u0007',
  '\u009b31m',
  '\u202egnp.exe\u2066\u061c\u200b',
  '<img src=x onerror=alert(1)>',
  '[x](javascript:alert(1)) | `y` |',
  '=cmd|calc!A1',
  '@SUM(1)',
  '"] ; evil [label="',
  'end\n  evil --> x',
  '../../../../evil',
  '\r\nHTTP/1.1 200',
  '__proto__',
  'a: !!js/x &a\n- *a',
] as const;
const all = EVIL.join(' ');
const q = (text: string): string => JSON.stringify(text);
const labels = `{app: web, ${EVIL.map((text, index) => `evil${index}: ${q(text)}`).join(', ')}}`;

const deployment = (name: string, image: string, port: number, more = ''): string => `apiVersion: apps/v1
kind: Deployment
metadata: {name: ${name}, namespace: shop, labels: ${labels}, annotations: ${labels}}
spec:
  replicas: 1
  selector: {matchLabels: {app: ${name}}}
  template:
    metadata: {labels: {app: ${name}, evil: ${q(EVIL[0])}}, annotations: ${labels}}
    spec:
      serviceAccountName: ${name}
      containers:
        - name: ${q(EVIL[3])}
          image: ${q(image)}
          command: [sh, -c, ${q(all)}]
          env: [{name: ${q(EVIL[2])}, value: ${q(all)}}, {name: DATABASE_URL, value: ${q(`postgres://u:p@db:5432/${all}`)}}]
          ports: [{containerPort: ${port}, name: ${q(EVIL[4])}}]
${more}`;

const CLUSTER: Readonly<Record<string, string>> = {
  'namespaces.yaml': ['shop', 'kube-system']
    .map(
      (name) =>
        `apiVersion: v1\nkind: Namespace\nmetadata: {name: ${name}, labels: ${labels.replace('app: web, ', '')}}\n`,
    )
    .join('---\n'),
  'web.yaml': deployment('web', all, 8080),
  'db.yaml': deployment('db', 'docker.io/library/postgres:16', 5432),
  'services.yaml': ['web', 'db']
    .map(
      (name) => `apiVersion: v1
kind: Service
metadata: {name: ${name}, namespace: shop, annotations: ${labels}}
spec: {selector: {app: ${name}}, externalName: ${q(all)}, ports: [{name: ${q(EVIL[1])}, port: 80, targetPort: ${name === 'web' ? 8080 : 5432}}]}
`,
    )
    .join('---\n'),
  'job.yaml': `apiVersion: batch/v1
kind: CronJob
metadata: {name: nightly, namespace: shop, annotations: ${labels}}
spec:
  schedule: ${q(all)}
  timeZone: ${q(EVIL[5])}
  jobTemplate: {spec: {template: {metadata: {labels: {app: nightly}}, spec: {containers: [{name: n, image: x}]}}}}
`,
  'pod.yaml': `apiVersion: v1
kind: Pod
metadata:
  name: owned
  namespace: shop
  labels: {app: owned}
  ownerReferences: [{apiVersion: ${q(EVIL[0])}, kind: ${q(EVIL[0])}, name: ${q(EVIL[1])}, uid: "1", controller: true}]
spec: {containers: [{name: n, image: x}]}
status: {podIP: 10.244.0.9, phase: Running}
`,
  'policies.yaml': `apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: theirs, namespace: shop, annotations: ${labels}}
spec: {podSelector: {matchLabels: {app: web, evil: ${q(all)}}}, ingress: [{from: [{ipBlock: {cidr: ${q(EVIL[0])}}}], ports: [{port: ${q(EVIL[1])}}]}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: theirs, namespace: shop}
spec: {rules: [{from: [{source: {principals: [${q(all)}]}}], to: [{operation: {paths: [${q(all)}], hosts: [${q(EVIL[9])}]}}], when: [{key: ${q(EVIL[2])}, values: [x]}]}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: in, namespace: shop}
spec: {rules: [{host: ${q(all)}, http: {paths: [{path: ${q(EVIL[7])}, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}}]}
---
apiVersion: evil.example/v1
kind: Evil
metadata: {name: evil, namespace: shop, labels: ${labels}}
spec: ${labels}
`,
  'names.yaml': EVIL.map((name) =>
    JSON.stringify({ apiVersion: 'v1', kind: 'Service', metadata: { name, namespace: 'shop' } }),
  ).join('\n---\n'),
  // Whoever commits manifests names the files.
  '$(:>PWNED7);\u001b[2J\u202e.yaml': 'a: [',
};

const edge = (over: object, day: number): string =>
  JSON.stringify({
    first: `2026-10-0${day}T10:00:00Z`,
    last: `2026-10-0${day}T10:00:09Z`,
    src: { workload: 'shop/Deployment/web' },
    dst: { workload: 'shop/Deployment/db' },
    protocol: 'TCP',
    port: 5432,
    count: 3,
    verdict: 'allowed',
    ...over,
  });
const FLOWS = [
  ...[1, 2, 3, 4, 5, 6, 7].map((day) => edge({}, day)),
  ...EVIL.flatMap((text) => [
    edge({ dst: { name: text }, port: 443 }, 2),
    edge({ dst: { name: `${text}.example.com` }, port: 443 }, 2),
    edge({ src: { workload: `shop/${text}/${text}` } }, 2),
    edge({ src: { pod: text, namespace: 'shop' } }, 2),
    edge({ src: { pod: 'x', namespace: text } }, 2),
    edge({ principal: text, source: text, mtls: 'yes' }, 3),
  ]),
  edge({ src: { workload: 'shop/Pod/owned' }, port: 5432, l7: "POST /$(:>PWNED8)`';|" }, 2),
].join('\n');

const CONFIG = `gates: {window: off, coverage: off, schedules: off}
cluster:
  cni: {name: cilium, ipBlockMatches: []}
  mesh: {kind: istio, mode: sidecar, version: "1.29", rootNamespace: istio-system, trustDomain: cluster.local}
  apiServer: [10.0.0.1/32]
`;

let home = '';
let cluster = '';
const outputs: { readonly args: string; readonly stdout: string; readonly stderr: string; readonly exit: unknown }[] =
  [];

async function run(
  ...args: readonly string[]
): Promise<{ readonly stdout: string; readonly stderr: string; readonly exit: unknown }> {
  let [stdout, stderr] = ['', ''];
  const spies = [
    vi.spyOn(process.stdout, 'write').mockImplementation((text) => ((stdout += String(text)), true)),
    vi.spyOn(process.stderr, 'write').mockImplementation((text) => ((stderr += String(text)), true)),
  ];
  const before = process.exitCode;
  try {
    await main([
      '--manifests',
      cluster,
      '--state',
      join(home, 'state.sqlite'),
      '--config',
      join(home, 'config.yaml'),
      ...args,
    ]);
  } finally {
    for (const spy of spies) spy.mockRestore();
  }
  const exit = process.exitCode;
  process.exitCode = before;
  const ended = { args: args.join(' '), stdout, stderr, exit };
  outputs.push(ended);
  // A bug of ours is none of the ways to end.
  expect(exit, `${ended.args}\n${stderr}`).not.toBe(1);
  return ended;
}

beforeAll(async () => {
  home = mkdtempSync(join(tmpdir(), 'sallyport-hostile-'));
  cluster = join(home, 'in', 'cluster');
  mkdirSync(cluster, { recursive: true });
  for (const [name, text] of Object.entries(CLUSTER)) writeFileSync(join(cluster, name), text);
  writeFileSync(join(home, 'flows.jsonl'), FLOWS);
  writeFileSync(join(home, 'config.yaml'), CONFIG);
  vi.stubEnv('XDG_STATE_HOME', home);
  vi.stubEnv('SALLYPORT_USER', all);
  for (const json of [[], ['--json']]) {
    await run('observe', 'edges', join(home, 'flows.jsonl'), '--bad-records', 'skip', ...json);
    for (const args of [
      ['inventory'],
      ['flows'],
      ['suggest', 'shop'],
      ['reach'],
      ['reach', '--mesh'],
      ['plan', 'shop', '--to', 'identity'],
      ['accept', 'src=shop/Pod/owned', '--reason', all],
      ['waive', `gate=coverage,subject=shop/${EVIL[0]}`, '--reason', all],
      ['adopt', all, '--reason', all],
      ['plan', all],
      ['resolve', all, '--keep', 'ours'],
      ['status'],
      ['verify', 'shop'],
      ['audit'],
      ['assess'],
      ['state', 'export', join(home, `export-${json.length}`)],
    ])
      await run(...args, ...json);
  }
  for (const format of ['csv', 'dot', 'mermaid']) await run('reach', '-o', format);
  await run('assess', '-o', join(home, 'report.md'));
  // The unreadable file is set aside, so that plans and runs have their say.
  const [broken] = Object.keys(CLUSTER).slice(-1);
  await run('waive', `subject=${broken ?? ''}`, '--reason', 'not ours');
  await run('plan', 'shop', '--to', 'allow-list', '--json');
  await run('plan', 'shop', '--to', 'monitor', '--states', join(home, 'states'), '--json');
  await run('advance', 'shop', '--to', 'monitor', '--yes', '--json');
  await run('rollback', 'shop', '--to', 'none', '--yes');
}, 180_000);
afterAll(() => {
  vi.unstubAllEnvs();
  rmSync(home, { recursive: true, force: true });
});

/** What a terminal obeys, or what makes text look like other text; line breaks are the program's own. */
const OBEYED =
  /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/u;

describe('what is printed of a hostile cluster', () => {
  it('is there at all', () => {
    expect(outputs.length).toBeGreaterThan(35);
    expect(outputs.map((one) => one.stdout).join('').length).toBeGreaterThan(50_000);
  });

  it('holds nothing that a terminal would obey', () => {
    for (const { args, stdout, stderr } of outputs)
      for (const text of [stdout, stderr]) {
        // RFC 4180 ends the rows of a table by both.
        const found = OBEYED.exec(args.endsWith('csv') ? text.replaceAll('\r\n', '\n') : text);
        expect(found === null ? '' : `${args}: ${JSON.stringify(text.slice(found.index - 80, found.index + 20))}`).toBe(
          '',
        );
      }
  });

  it('starts no line of its own with what somebody else wrote', () => {
    for (const { args, stdout, stderr } of outputs)
      for (const line of `${stdout}\n${stderr}`.split('\n')) {
        expect(line.startsWith(':>PWNED') ? `${args}: ${line}` : '').toBe('');
        expect(line.startsWith('HTTP/1.1') ? `${args}: ${line}` : '').toBe('');
      }
  });

  it('is one JSON document with --json', () => {
    for (const { args, stdout } of outputs.filter((one) => one.args.endsWith('--json')))
      expect(() => JSON.parse(stdout) as unknown, args).not.toThrow();
  });

  it('is a table that a spreadsheet reads and does not run', () => {
    const { stdout } = outputs.find((one) => one.args === 'reach -o csv') ?? { stdout: '' };
    const rows = stdout
      .trimEnd()
      .split('\n')
      .map((line) => parseCsvRow(line));
    expect(rows.length).toBeGreaterThan(1);
    for (const row of rows) {
      expect(row.length).toBe(rows[0]?.length);
      for (const cell of row) expect(cell).not.toMatch(/^[=+@\t-]/);
    }
  });

  it('is a graph in which nobody else has drawn', () => {
    const dot = outputs.find((one) => one.args === 'reach -o dot')?.stdout ?? '';
    const string = String.raw`"(?:[^"\\]|\\.)*"`;
    for (const line of dot.trimEnd().split('\n').slice(1, -1))
      expect(line).toMatch(
        new RegExp(
          `^\\s*(?:[a-z]+=\\S+;?|(?:graph|node|edge) \\[.*\\];?|${string}(?: -> ${string})?(?: \\[[a-z]+=(?:${string}|\\w+)(?:,? ?[a-z]+=(?:${string}|\\w+))*\\])?;?)$`,
        ),
      );
    const mermaid = outputs.find((one) => one.args === 'reach -o mermaid')?.stdout ?? '';
    for (const line of mermaid.trimEnd().split('\n').slice(1))
      expect(line).toMatch(/^\s*(?:%%.*|n\d+\["[^"]*"\]|n\d+ \S+\|"[^"]*"\| n\d+|linkStyle.*|classDef.*)$/);
  });
});

function parseCsvRow(line: string): readonly string[] {
  return [...line.matchAll(/(?:^|,)(?:"((?:[^"]|"")*)"|([^",]*))/g)].map(([, quoted, bare]) => quoted ?? bare ?? '');
}

describe('what is pasted of it', () => {
  const suggested = (): readonly string[] => {
    const texts = new Set<string>();
    const collect = (value: unknown): void => {
      if (typeof value === 'string') {
        for (const match of value.matchAll(/(?:sallyport|kubectl) [a-z]/g)) texts.add(value.slice(match.index));
      } else if (typeof value === 'object' && value !== null) Object.values(value).forEach(collect);
    };
    for (const { args, stdout, stderr } of outputs) {
      if (args.endsWith('--json')) collect(JSON.parse(stdout));
      `${stdout}\n${stderr}`.split('\n').forEach(collect);
    }
    return [...texts];
  };

  it('runs nothing but the program', () => {
    const place = mkdtempSync(join(tmpdir(), 'sallyport-paste-'));
    try {
      const commands = suggested();
      expect(commands.length).toBeGreaterThan(20);
      for (const command of commands) {
        spawnSync('/bin/sh', ['-c', `sallyport() { :; }; kubectl() { :; }; exec 2>/dev/null\n${command}`], {
          cwd: place,
        });
        const left = readdirSync(place).filter((name) => name.startsWith('PWNED'));
        expect(left.length > 0 ? command : '').toBe('');
      }
    } finally {
      rmSync(place, { recursive: true, force: true });
    }
  });

  it('the way back by hand is a script that runs nothing but kubectl', () => {
    const scripts = filesUnder(home).filter((file) => file.endsWith('.sh'));
    for (const file of scripts) {
      execFileSync('/bin/sh', ['-n', file]);
      expect(readFileSync(file, 'utf8')).not.toContain(':>PWNED');
    }
  });
});

function filesUnder(folder: string): readonly string[] {
  return readdirSync(folder, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));
}

describe('what is written of it', () => {
  it('stays in the folders that were named', () => {
    const own = /^(?:in\/cluster\/|states\/|state\.sqlite|export-|report\.md$|flows\.jsonl$|config\.yaml$|sallyport\/)/;
    expect(
      filesUnder(home)
        .map((file) => relative(home, file))
        .filter((file) => !own.test(file)),
    ).toEqual([]);
    expect(
      filesUnder(home).some((file) => /evil|PWNED/.test(relative(cluster, file).replace(/^\$\(:>PWNED7.*/s, ''))),
    ).toBe(false);
  });

  it('is Markdown without a page inside', () => {
    const report = readFileSync(join(home, 'report.md'), 'utf8');
    expect(report).not.toMatch(/^(?!.*`).*<img/m);
    expect(OBEYED.test(report.replaceAll('\n', ''))).toBe(false);
  });
});
