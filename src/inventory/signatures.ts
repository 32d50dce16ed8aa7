import { z } from 'zod';
import { EXIT, Failure } from '../shared/pure/errors.ts';
import { safeText } from '../shared/pure/text.ts';

/**
 * Assets a component may hold. `unknown` means nobody can say before looking at the workload; an empty list means the
 * component is known to hold none of these. A user's own file may name others.
 */
export const SENSITIVITIES = [
  'training-data',
  'features',
  'models',
  'embeddings',
  'inference-data',
  'experiments',
  'credentials',
  'private-keys',
  'personal-data',
  'events',
  'metadata',
  'telemetry',
  'code-execution',
  'unknown',
] as const;

const text = z.string().min(1).max(500);
const slug = z.string().regex(/^[a-z0-9][a-z0-9-]{0,62}$/, 'must be lower-case letters, digits and dashes');
/** `*` stands for any characters, slashes included; nothing else is special. */
const glob = z.string().min(1).max(200);
const stage = z.string().regex(/^[a-z-]+(\|[a-z-]+)*$/, 'must be a stage, or stages joined by |');
const planeSchema = z.enum(['control', 'data', 'monitoring', 'platform', 'unknown']);

const ownerSchema = z.strictObject({ group: z.string().max(253), kind: text });
const requirementSchema = z.strictObject({ key: text, values: z.array(glob).min(1).optional() });
/** Alternatives of conjunctions: one inner list must hold whole. Without `values` the key must exist. */
const labelsSchema = z.array(z.array(requirementSchema).min(1));

const supportingSchema = z.strictObject({
  labels: labelsSchema.optional(),
  images: z.array(glob).optional(),
  containers: z.array(glob).optional(),
  env: z.array(glob).optional(),
  serviceAccounts: z.array(glob).optional(),
  services: z.array(glob).optional(),
});

const detectSchema = z.strictObject({
  /** Kinds in the owner chain that make the pod this component. */
  owners: z.array(ownerSchema).optional(),
  /** Kinds that say little about what runs: used only when nothing else matches. */
  weakOwners: z.array(ownerSchema).optional(),
  labels: labelsSchema.optional(),
  weakLabels: labelsSchema.optional(),
  /** Repositories without registry, tag and digest. `library/x` is the official image `x`. */
  images: z.array(glob).optional(),
  weakImages: z.array(glob).optional(),
  containers: z.array(glob).optional(),
  env: z.array(glob).optional(),
  serviceAccounts: z.array(glob).optional(),
  /** `name`, or `name.namespace`. */
  services: z.array(glob).optional(),
  /** Never enough alone: breaks ties and backs other evidence. */
  supporting: supportingSchema.optional(),
});

const portNumber = z.number().int().min(1).max(65_535);
const portSchema = z.strictObject({
  port: portNumber,
  endPort: portNumber.optional(),
  protocol: z.enum(['TCP', 'UDP']),
  /** As a Service port would state it; absent means plain bytes. */
  appProtocol: text.optional(),
  name: text.optional(),
  use: text.optional(),
  /** False where the number was not checked against a manifest or source. */
  verified: z.boolean().optional(),
});

const componentSchema = z.strictObject({
  id: slug,
  name: text,
  plane: planeSchema,
  /** A pipeline stage, `unknown`, or stages joined by `|` where the component alone does not tell which. */
  stage,
  sensitivity: z.array(slug),
  /** `sidecar`: facts about a helper container, no workload is classified as one. `external`: usually seen as an address. */
  role: z.enum(['workload', 'sidecar', 'external']).optional(),
  detect: detectSchema,
  /** Components that this one is a more exact name for: where it matches by itself, they are dropped. */
  refines: z.array(slug).optional(),
  /** Kinds that this component reconciles; their pods are other components. */
  manages: z.array(ownerSchema).optional(),
  stageByOwner: z.array(ownerSchema.extend({ stage })).optional(),
  /** Words of a name or image that tell the stage of a component whose own stage is unknown. */
  stageHints: z.array(z.strictObject({ words: z.array(slug).min(1), stage })).optional(),
  ports: z.array(portSchema),
  /** Set where members listen on ports that cannot be listed; says which. */
  dynamicPorts: text.optional(),
  /** Label keys whose shared value makes pods one group that talks on any port. */
  groupLabels: z.array(text).optional(),
  /** Environment variables by which clients name this component. */
  clientEnv: z.array(glob).optional(),
  caveats: z.array(text),
  basis: z.enum(['manifest', 'source', 'issue', 'doc', 'partial', 'unverified']),
  sources: z.array(text),
});

const commonSchema = z.strictObject({
  /** Helpers beside the main container; their images say nothing about the workload. */
  sidecars: z.strictObject({ containers: z.array(glob), images: z.array(glob) }),
  /** Pods that share a value of one of these keys use any TCP port among themselves. */
  groupLabels: z.array(text),
  /** Protocols in which the server speaks first, or that a mesh leaves out of protocol detection. */
  serverFirst: z.array(z.strictObject({ port: portNumber, name: text })),
  /** The plane of a workload that no component matches. */
  planeHints: z.array(
    z.strictObject({
      plane: planeSchema,
      labels: labelsSchema.optional(),
      namespaces: z.array(glob).optional(),
      why: text.optional(),
    }),
  ),
});

const fileSchema = z.strictObject({
  version: z.literal(1),
  components: z.array(componentSchema),
  common: commonSchema.optional(),
});

type Deep<T> = T extends readonly (infer Item)[]
  ? readonly Deep<Item>[]
  : T extends object
    ? { readonly [Key in keyof T]: Deep<T[Key]> }
    : T;

export type Plane = z.infer<typeof planeSchema>;
export type OwnerKind = Deep<z.infer<typeof ownerSchema>>;
export type LabelRequirement = Deep<z.infer<typeof requirementSchema>>;
export type LabelAlternatives = Deep<z.infer<typeof labelsSchema>>;
export type ComponentPort = Deep<z.infer<typeof portSchema>>;
export type Component = Deep<z.infer<typeof componentSchema>>;
export type CommonFacts = Deep<z.infer<typeof commonSchema>>;

/** What is known of components, and what holds across them. Component ids are unique. */
export interface Signatures {
  readonly components: readonly Component[];
  readonly common: CommonFacts;
}

const NO_COMMON: CommonFacts = {
  sidecars: { containers: [], images: [] },
  groupLabels: [],
  serverFirst: [],
  planeHints: [],
};

function hasOwnDetector({ detect }: Component): boolean {
  return Object.entries(detect).some(([key, list]) => key !== 'supporting' && Array.isArray(list) && list.length > 0);
}

function failure(source: string, problems: readonly string[]): Failure {
  const shown = problems.slice(0, 10).map((problem) => safeText(problem));
  const more = problems.length > shown.length ? `; and ${problems.length - shown.length} more` : '';
  return new Failure({
    code: 'SP230',
    exit: EXIT.usage,
    message: `component signatures are not valid: ${shown.join('; ')}${more}`,
    where: safeText(source),
    hint: 'correct the fields named; templates/signatures shows the form',
  });
}

/** Issues in words, each led by the component's id where it has one: "component mlflow, ports.0.port: ...". */
function problemsOf(error: z.ZodError, input: unknown): readonly string[] {
  const components = z.object({ components: z.array(z.unknown()) }).safeParse(input);
  return error.issues.map((issue) => {
    const [first, index, ...rest] = issue.path;
    if (first !== 'components' || typeof index !== 'number' || !components.success) {
      return `${issue.path.join('.') || 'document'}: ${issue.message}`;
    }
    const id = z.object({ id: z.string() }).safeParse(components.data.components[index]);
    const label = id.success ? `component ${id.data.id.slice(0, 80)}` : `components.${index}`;
    return `${[label, rest.join('.')].filter((part) => part !== '').join(', ')}: ${issue.message}`;
  });
}

/**
 * One document of signatures, from parsed JSON or YAML. `source` names the file in the error.
 * Throws a Failure (SP230, wrong use) that lists what is wrong by component and field.
 */
export function parseSignatures(input: unknown, source = 'signatures'): Signatures {
  const parsed = fileSchema.safeParse(input);
  if (!parsed.success) throw failure(source, problemsOf(parsed.error, input));
  const components: readonly Component[] = parsed.data.components;
  const problems: string[] = [];
  const seen = new Set<string>();
  for (const component of components) {
    if (seen.has(component.id)) problems.push(`component ${component.id} is given twice`);
    seen.add(component.id);
    if (!hasOwnDetector(component)) problems.push(`component ${component.id}, detect: nothing to detect it by`);
    for (const port of component.ports) {
      if (port.endPort !== undefined && port.endPort < port.port) {
        problems.push(`component ${component.id}, ports: ${port.port}-${port.endPort} ends before it begins`);
      }
    }
  }
  if (problems.length > 0) throw failure(source, problems);
  return { components, common: parsed.data.common ?? NO_COMMON };
}

function union<T>(a: readonly T[], b: readonly T[]): readonly T[] {
  const seen = new Set<string>();
  return [...a, ...b].filter((item) => {
    const key = JSON.stringify(item);
    if (seen.has(key)) return false;
    seen.add(key);
    return true;
  });
}

/**
 * Several documents as one. A later component replaces an earlier one of the same id whole; a new id is added; common
 * facts add up. Give a user's own file last.
 */
export function mergeSignatures(documents: readonly Signatures[]): Signatures {
  const components = new Map<string, Component>();
  let common = NO_COMMON;
  for (const document of documents) {
    for (const component of document.components) components.set(component.id, component);
    common = {
      sidecars: {
        containers: union(common.sidecars.containers, document.common.sidecars.containers),
        images: union(common.sidecars.images, document.common.sidecars.images),
      },
      groupLabels: union(common.groupLabels, document.common.groupLabels),
      serverFirst: union(common.serverFirst, document.common.serverFirst),
      planeHints: union(common.planeHints, document.common.planeHints),
    };
  }
  return { components: [...components.values()], common };
}
