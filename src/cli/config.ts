import { readFile } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { z } from 'zod';
import type { BoundaryFact, Config, TenantFact } from '../model/config.ts';
import { CLOUD_ISSUER } from '../model/cloud-cluster.ts';
import { DEFAULT_CONFIG, DEFAULT_GRANTS, DIALECTS } from '../model/config.ts';
import type { Decision } from '../model/decision.ts';
import { explain } from './file-error.ts';
import { waiverFault } from '../flows/decide.ts';
import { parseQuery } from '../flows/query.ts';
import { PHASES } from '../model/phase.ts';
import { TUNED_CONTROLS } from '../model/tuning.ts';
import { parseQuantity } from '../candidates/tuning/proxy-resources.ts';
import type { TriggerConfig, TriggerRule } from '../model/trigger.ts';
import { ALWAYS_PROTECTED, DEFAULT_LIMITS, TRIGGERED } from '../model/trigger.ts';
import { NOTICE_KINDS } from '../watch/notice.ts';
import type { LatencyMeasurement } from '../report/input.ts';
import { EGRESS_GROUPS } from '../report/model.ts';
import { parseYaml, parseYamlTrees } from '../shared/io/yaml.ts';
import { EXIT, Failure } from '../shared/pure/errors.ts';
import { describeIssues } from '../shared/pure/issues.ts';

const onOff = z.union([z.enum(['on', 'off']), z.boolean()]).transform((value) => {
  if (typeof value === 'boolean') return value ? ('on' as const) : ('off' as const);
  return value;
});
// `off` is the only false that a threshold knows.
const threshold = z
  .union([z.number().nonnegative(), z.literal('off'), z.literal(false)])
  .transform((value) => (value === false ? ('off' as const) : value));

const moment = z.union([z.iso.datetime({ offset: true }), z.date()]).transform((value) => new Date(value).getTime());

const configSchema = z.strictObject({
  gates: z
    .strictObject({
      window: threshold,
      coverage: threshold,
      schedules: onOff,
      'unseen-workloads': onOff,
      review: onOff,
      corroboration: threshold,
      losses: threshold,
      enforcement: onOff,
      mesh: onOff,
      plaintext: onOff,
      soak: onOff,
    })
    .partial()
    .optional(),
  soak: z
    .strictObject({
      minutes: z.number().positive(),
      drainSeconds: z.number().nonnegative(),
      signals: z.array(
        z.strictObject({
          // Of a name that no source has, the registry of sources is asked where signals are opened.
          source: z.string().min(1),
          inputs: z.array(z.string().min(1)).min(1),
        }),
      ),
    })
    .partial()
    .optional(),
  addresses: z
    .strictObject({
      days: z
        .union([z.number().int().min(1).max(36_500), z.literal('off'), z.literal(false)])
        .transform((value) => (value === false ? ('off' as const) : value)),
    })
    .optional(),
  undo: z
    .strictObject({ path: z.string().min(1).optional(), cluster: onOff.optional() })
    .refine((one) => one.cluster !== 'off' || one.path !== undefined, {
      message: 'without the cluster a folder must keep the ways back: path',
    })
    .optional(),
  changes: z
    .strictObject({
      ticket: z.enum(['required', 'optional']).default('optional'),
      freeze: z
        .array(
          z
            .strictObject({ from: moment, to: moment, reason: z.string().trim().min(1) })
            .refine((one) => one.from < one.to, { message: 'a window ends after it begins' }),
        )
        .default([]),
      approvals: z
        .strictObject({
          required: z.int().min(1).max(10),
          hours: z.number().positive().default(24),
          namespaces: z.array(z.string().min(1)).min(1).default(['*']),
          phases: z
            .array(z.enum(PHASES.filter((phase) => phase !== 'none')))
            .min(1)
            .optional(),
          approvers: z.array(z.string().min(1)).min(1).optional(),
        })
        .optional(),
    })
    .optional(),
  identity: z
    .strictObject({
      rehearsal: z.enum(['required', 'optional']).default('optional'),
      metrics: z.array(z.string().min(1)).default([]),
    })
    .optional(),
  dialect: z.enum(DIALECTS).optional(),
  grants: z
    .strictObject({
      maxMinutes: z.number().positive().max(43_200),
      breakGlassMinutes: z.number().positive().max(10_080),
    })
    .partial()
    .optional(),
  cluster: z
    .strictObject({
      cni: z
        .strictObject({
          name: z.string().min(1),
          ipBlockMatches: z.array(z.enum(['pods', 'nodes', 'api-server'])).default([]),
        })
        .optional(),
      mesh: z
        .strictObject({
          kind: z.literal('istio'),
          mode: z.enum(['sidecar', 'ambient']),
          version: z.coerce.string().optional(),
          rootNamespace: z.string().optional(),
          trustDomain: z.string().optional(),
        })
        .optional(),
      apiServer: z.array(z.union([z.cidrv4(), z.cidrv6()])).optional(),
    })
    .optional(),
  cloud: z
    .strictObject({
      // As IAM and Entra ID have it: https, without a query or a fragment (OpenID Connect Discovery 1.0, "issuer").
      issuer: z.string().regex(CLOUD_ISSUER, 'is no https URL of an issuer, without query and fragment').optional(),
      // A letter or digit, then letters, digits, hyphens and underscores, 100 in all (Amazon EKS API, CreateCluster).
      eksCluster: z
        .string()
        .regex(/^[0-9A-Za-z][A-Za-z0-9_-]{0,99}$/u, 'is no name that EKS gives a cluster')
        .optional(),
    })
    .optional(),
  incidents: z
    .strictObject({
      quarantine: z.enum(['ask', 'run']).default('ask'),
      block: z.enum(['ask', 'run']).default('ask'),
      // A rotation cannot be taken back: no policy answers for a person.
      rotate: z.literal('ask').default('ask'),
      cap: z.int().nonnegative().optional(),
      escalate: z
        .array(
          z
            .strictObject({
              kind: z.enum(['alertmanager', 'slack', 'pagerduty']),
              name: z.string().min(1).optional(),
              url: z.url({ protocol: /^https?$/u }).optional(),
              secretFile: z.string().min(1).optional(),
            })
            .refine((one) => one.kind !== 'alertmanager' || one.url !== undefined, { message: 'url is needed' })
            .refine((one) => one.kind !== 'slack' || one.url !== undefined || one.secretFile !== undefined, {
              message: 'url, or secretFile with the address of the webhook, is needed',
            })
            .refine((one) => one.kind !== 'pagerduty' || one.secretFile !== undefined, {
              message: 'secretFile with the routing key is needed',
            }),
        )
        .default([]),
    })
    .optional(),
  triggers: z
    .strictObject({
      act: z.boolean().default(false),
      stop: z.string().trim().min(1).optional(),
      rules: z
        .array(
          z
            .strictObject({
              name: z.string().trim().min(1).max(100),
              notice: z.enum(NOTICE_KINDS),
              class: z.enum(['attack-like', 'misconfigured', 'new-legitimate', 'unclear']).optional(),
              severity: z.enum(['info', 'warning', 'error']).optional(),
              count: z.int().positive().optional(),
              targets: z.int().positive().optional(),
              namespaces: z.array(z.string().min(1)).min(1).optional(),
              does: z.enum(TRIGGERED),
              how: z.enum(['ask', 'run']).default('ask'),
            })
            .refine((one) => one.does === 'escalate' || one.notice === 'denied' || one.notice === 'new-caller', {
              message: 'only denied and new-caller name who did it: every other notice can only escalate',
            })
            .refine((one) => (one.class === undefined && one.targets === undefined) || one.notice === 'denied', {
              message: 'class and targets are of notice denied',
            })
            .refine((one) => one.count === undefined || one.notice === 'denied' || one.notice === 'new-caller', {
              message: 'count is of notices denied and new-caller',
            }),
        )
        .default([])
        .refine((all) => new Set(all.map(({ name }) => name)).size === all.length, { message: 'two have one name' }),
      limits: z
        .strictObject({
          perHour: z.int().min(0).max(60),
          most: z.int().min(0).max(100),
          share: z.number().min(0).max(0.5),
          protected: z.array(z.string().min(1)),
          cooldownMinutes: z.number().min(1).max(10_080),
          cut: z.int().min(0).max(10_000),
        })
        .partial()
        .default({}),
    })
    .optional(),
  git: z
    .strictObject({
      dir: z.string().min(1).optional(),
      layout: z.string().min(1).optional(),
      deployers: z.array(z.string().min(1)).optional(),
      push: z.boolean().default(false),
      health: z.enum(['wait', 'ignore']).optional(),
    })
    .optional(),
  tenants: z
    .array(
      z
        .strictObject({
          name: z.string().min(1),
          namespaces: z.array(z.string().min(1)).optional(),
          labels: z.record(z.string(), z.string()).optional(),
        })
        .refine((one) => one.namespaces !== undefined || Object.keys(one.labels ?? {}).length > 0, {
          message: 'a tenant is told by its namespaces or by labels of them',
        }),
    )
    .optional(),
  boundaries: z
    .array(
      z.discriminatedUnion('kind', [
        z.strictObject({
          kind: z.literal('vpc'),
          name: z.string().min(1),
          cidrs: z.array(z.union([z.cidrv4(), z.cidrv6()])).min(1),
          names: z.array(z.string().min(1)).optional(),
        }),
        z.strictObject({
          kind: z.literal('nat'),
          name: z.string().min(1),
          addresses: z.array(z.union([z.ipv4(), z.ipv6()])).min(1),
          vpc: z.string().optional(),
        }),
        z.strictObject({
          kind: z.literal('iam'),
          name: z.string().min(1),
          stages: z.array(z.string().min(1)).min(1),
          identity: z.string().optional(),
          allows: z.array(z.string()).optional(),
        }),
      ]),
    )
    .optional(),
  probe: z
    .strictObject({
      // Whether it is pinned is asked where it would run, with a hint.
      image: z.string().min(1),
      namespaces: z.array(z.string().min(1)).min(1).default(['*']),
      schedule: z
        .strictObject({ cron: z.string().min(1), timeZone: z.string().min(1).optional(), file: z.string().min(1) })
        .optional(),
    })
    .optional(),
  budget: z
    .strictObject({
      latency: z.partialRecord(z.enum(TUNED_CONTROLS), z.number().positive()),
      cpuPer1000Rps: z.number().positive(),
      // In bytes; a quantity of Kubernetes as well.
      memoryPerProxy: z.union([z.number().positive(), z.string()]).transform((value, context) => {
        const bytes = parseQuantity(value);
        if (bytes === undefined || bytes <= 0)
          context.addIssue({ code: 'custom', message: 'is no quantity such as 128Mi' });
        return bytes ?? 0;
      }),
    })
    .partial()
    .optional(),
  assess: z
    .strictObject({
      latency: z.string().min(1).optional(),
      egress: z.array(z.strictObject({ match: z.string().min(1), group: z.enum(EGRESS_GROUPS) })).optional(),
    })
    .optional(),
});

const decisionSchema = z.strictObject({
  action: z.enum(['accept', 'waive', 'adopt', 'withdraw']),
  query: z.string().min(1),
  reason: z.string().trim().min(1, 'a reason is needed: it stands on the audit trail'),
  by: z.string().min(1),
  at: z.union([z.iso.datetime({ offset: true }), z.date()]).transform((value) => new Date(value).getTime()),
  matched: z.array(z.string()).default([]),
});
/** How far the clock of whoever wrote a decisions file may be ahead of this one. */
const CLOCK_SKEW_MS = 5 * 60_000;
const decisionsSchema = z.strictObject({ decisions: z.array(decisionSchema) });

export async function readText(file: string, what: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    throw new Failure({
      code: 'SP231',
      exit: EXIT.usage,
      message: `the ${what} cannot be read: ${explain(error)}`,
      where: file,
      hint: `check the path given to ${what === 'configuration' ? '--config' : what === 'decisions file' ? '--decisions' : what === 'file of a secret' ? 'incidents.escalate' : what === 'inventory of clusters' ? '--fleet' : 'assess.latency of the configuration'}`,
      cause: error,
    });
  }
}

const FLEET = 'inventory of clusters';

function parseFile<T>(schema: z.ZodType<T>, text: string, file: string, what: string): T {
  const read = parseYaml(text);
  if ('problem' in read)
    throw new Failure({
      code: 'SP211',
      exit: EXIT.usage,
      message: `the ${what} is not YAML: ${read.problem.message}`,
      where: `${file}:${read.problem.line}:${read.problem.column}`,
      hint: 'mend the file at that line',
    });
  const parsed = schema.safeParse(read.value ?? {});
  if (parsed.success) return parsed.data;
  throw new Failure({
    code: 'SP212',
    exit: EXIT.usage,
    message: `the ${what} is not as it should be: ${describeIssues(parsed.error.issues)}`,
    where: `${file}${placeOf(text, parsed.error.issues[0])}`,
    hint: what === FLEET ? 'docs/fleets.md shows such a file' : 'see the README, "Configuration"',
  });
}

/** `:line:column` of what the first fault is about: the key that is not known, the value that is wrong, or what it should stand in. */
function placeOf(text: string, issue: z.core.$ZodIssue | undefined): string {
  let node = parseYamlTrees(text)?.[0];
  let at = node?.start;
  const keys = issue?.code === 'unrecognized_keys' ? issue.keys.slice(0, 1) : [];
  for (const key of [...(issue?.path ?? []), ...keys]) {
    const pair = node?.kind === 'map' ? node.pairs.find((one) => one.key === key) : undefined;
    const next = node?.kind === 'seq' && typeof key === 'number' ? node.items[key] : pair?.value;
    if (next === undefined) break;
    at = pair?.keyStart ?? next.start;
    node = next;
  }
  if (at === undefined) return '';
  const lines = text.slice(0, at).split('\n');
  return `:${lines.length}:${(lines.at(-1)?.length ?? 0) + 1}`;
}

function defined<T extends object>(value: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(value).filter(([, item]) => item !== undefined)) as {
    [K in keyof T]: Exclude<T[K], undefined>;
  };
}

/** Paths in the file are meant from the folder that the file is in, wherever the program was started. */
function soakOf(given: z.infer<typeof configSchema>['soak'], file: string): Config['soak'] {
  const soak = { ...DEFAULT_CONFIG.soak, ...defined(given ?? {}) };
  return {
    ...soak,
    signals: soak.signals.map(({ source, inputs }) => ({
      source,
      inputs: inputs.map((input) => resolve(dirname(file), input)),
    })),
  };
}

/** What the configuration protects comes beside what is always protected, and never in its place. */
function triggersOf(given: NonNullable<z.infer<typeof configSchema>['triggers']>): TriggerConfig {
  const { cooldownMinutes, protected: more = [], ...limits } = given.limits;
  return {
    act: given.act,
    ...(given.stop === undefined ? {} : { stop: given.stop }),
    rules: given.rules.map((one): TriggerRule => defined(one)),
    limits: {
      ...DEFAULT_LIMITS,
      ...defined(limits),
      protected: [...ALWAYS_PROTECTED, ...more],
      ...(cooldownMinutes === undefined ? {} : { cooldownMs: cooldownMinutes * 60_000 }),
    },
  };
}

/** Reads the configuration; what it does not set keeps its default. Exit 2 with file and field for anything else. */
export async function readConfig(file: string | undefined): Promise<Config> {
  if (file === undefined) return DEFAULT_CONFIG;
  const given = parseFile(configSchema, await readText(file, 'configuration'), file, 'configuration');
  const cluster = given.cluster ?? {};
  return {
    gates: { ...DEFAULT_CONFIG.gates, ...defined(given.gates ?? {}) },
    soak: soakOf(given.soak, file),
    addresses: given.addresses ?? DEFAULT_CONFIG.addresses,
    undo: {
      ...DEFAULT_CONFIG.undo,
      ...defined(given.undo ?? {}),
      ...(given.undo?.path === undefined ? {} : { path: resolve(dirname(file), given.undo.path) }),
    },
    cluster: {
      ...(cluster.cni === undefined ? {} : { cni: cluster.cni }),
      ...(cluster.mesh === undefined ? {} : { mesh: defined(cluster.mesh) }),
      ...(cluster.apiServer === undefined ? {} : { apiServer: cluster.apiServer }),
    },
    ...(given.cloud === undefined ? {} : { cloud: defined(given.cloud) }),
    ...(given.changes === undefined
      ? {}
      : {
          changes: {
            ticket: given.changes.ticket,
            freeze: given.changes.freeze,
            ...(given.changes.approvals === undefined ? {} : { approvals: defined(given.changes.approvals) }),
          },
        }),
    ...(given.incidents === undefined
      ? {}
      : {
          incidents: defined({
            ...given.incidents,
            escalate: given.incidents.escalate.map((one) =>
              defined({
                ...one,
                // Meant from the folder that the file is in.
                secretFile: one.secretFile === undefined ? undefined : resolve(dirname(file), one.secretFile),
              }),
            ),
          }),
        }),
    ...(given.git === undefined
      ? {}
      : {
          git: defined({
            ...given.git,
            // Meant from the folder that the file is in, wherever the program was started.
            dir: given.git.dir === undefined ? undefined : resolve(dirname(file), given.git.dir),
          }),
        }),
    ...(given.identity === undefined
      ? {}
      : {
          identity: {
            rehearsal: given.identity.rehearsal,
            metrics: given.identity.metrics.map((one) => resolve(dirname(file), one)),
          },
        }),
    ...(given.dialect === undefined ? {} : { dialect: given.dialect }),
    ...(given.grants === undefined ? {} : { grants: { ...DEFAULT_GRANTS, ...defined(given.grants) } }),
    ...(given.tenants === undefined ? {} : { tenants: given.tenants.map((one): TenantFact => defined(one)) }),
    ...(given.boundaries === undefined
      ? {}
      : { boundaries: given.boundaries.map((one) => defined(one) as BoundaryFact) }),
    ...(given.probe === undefined
      ? {}
      : {
          probe: defined({
            ...given.probe,
            schedule:
              given.probe.schedule === undefined
                ? undefined
                : defined({ ...given.probe.schedule, file: resolve(dirname(file), given.probe.schedule.file) }),
          }),
        }),
    ...(given.triggers === undefined ? {} : { triggers: triggersOf(given.triggers) }),
    ...(given.budget === undefined
      ? {}
      : {
          budget: defined({
            ...given.budget,
            latency: given.budget.latency === undefined ? undefined : defined(given.budget.latency),
          }),
        }),
    ...(given.assess === undefined
      ? {}
      : {
          assess: {
            // Meant from the folder that the file is in, wherever the program was started.
            ...(given.assess.latency === undefined ? {} : { latency: resolve(dirname(file), given.assess.latency) }),
            ...(given.assess.egress === undefined ? {} : { egress: given.assess.egress }),
          },
        }),
  };
}

const latencySchema = z.array(
  z.strictObject({
    control: z.string().min(1),
    unit: z.literal('ms'),
    p50: z.number().nonnegative(),
    p99: z.number().nonnegative(),
    n: z.int().positive(),
    source: z.string().min(1),
    measuredAt: z.union([z.iso.datetime({ offset: true }), z.date()]).transform((value) => new Date(value).getTime()),
  }),
);

/** Reads measurements of what controls cost: a list, in YAML or JSON. Exit 2 with file and field for anything else. */
export async function readLatency(file: string): Promise<readonly LatencyMeasurement[]> {
  const what = 'file of latency measurements';
  return parseFile(latencySchema, await readText(file, what), file, what);
}

/** Reads a decisions file. Lists of matched edges may be empty: they are then taken from the edges on record. */
export async function readDecisions(file: string | undefined): Promise<readonly Decision[]> {
  if (file === undefined) return [];
  const given = parseFile(decisionsSchema, await readText(file, 'decisions file'), file, 'decisions file');
  return given.decisions.map((decision, index) => {
    try {
      const subject = { accept: 'edges', adopt: 'edges', waive: 'gates', withdraw: 'any' } as const;
      const query = parseQuery(decision.query, subject[decision.action]);
      const fault = decision.action === 'waive' ? waiverFault(query) : undefined;
      if (fault !== undefined)
        throw new Failure({
          code: 'SP232',
          exit: EXIT.usage,
          message: fault,
          hint: 'mend that decision; sallyport waive --help',
        });
      if (decision.at > Date.now() + CLOCK_SKEW_MS)
        throw new Failure({
          code: 'SP212',
          exit: EXIT.usage,
          message: `at: ${new Date(decision.at).toISOString()} lies in the future, and a decision is about what was seen before it`,
          hint: 'give the time at which it was taken',
        });
      return { ...decision, text: decision.query, query };
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      throw new Failure({ ...error.detail, where: `${file}, decision ${index + 1}` });
    }
  });
}

const fleetSchema = z.strictObject({
  clusters: z
    .array(
      z
        .strictObject({
          name: z.string().min(1),
          context: z.string().min(1).optional(),
          kubeconfig: z.string().min(1).optional(),
          manifests: z.string().min(1).optional(),
          state: z.string().min(1).optional(),
          config: z.string().min(1).optional(),
        })
        .refine((one) => (one.context === undefined) !== (one.manifests === undefined), {
          message: 'either context or manifests',
        }),
    )
    .min(1)
    .refine((all) => new Set(all.map(({ name }) => name)).size === all.length, { message: 'two have one name' }),
});

/** A cluster of a fleet: its name, and the flags by which it is reached. */
export interface FleetMember {
  readonly name: string;
  readonly context?: string;
  readonly kubeconfig?: string;
  readonly manifests?: string;
  readonly state?: string;
  readonly config?: string;
}

/** Reads an inventory of clusters. Paths are meant from the folder that the file is in. */
export async function readFleet(file: string): Promise<readonly FleetMember[]> {
  const { clusters } = parseFile(fleetSchema, await readText(file, FLEET), file, FLEET);
  const from = (path: string | undefined): string | undefined =>
    path === undefined ? undefined : resolve(dirname(file), path);
  return clusters.map((one) =>
    defined({
      ...one,
      kubeconfig: from(one.kubeconfig),
      manifests: from(one.manifests),
      state: from(one.state),
      config: from(one.config),
    }),
  );
}
