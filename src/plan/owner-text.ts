// Of the text of an operator's object what it says of its pods, wherever in it that stands: labels, the mesh's annotations, accounts, ports.
import type { Json, JsonObject } from '../shared/pure/json.ts';
import { asArray, asObject, asString, equalJson, isJsonObject } from '../shared/pure/json.ts';
import { sortBy } from '../shared/pure/order.ts';

/** Fields by which operators and Kubernetes say who pods run as and on which network. */
const PLAIN = new Set(['serviceAccountName', 'serviceAccount', 'hostNetwork', 'podSpecPatch']);

/** Whatever stands under these is not said of pods, or of none that connections rest on. */
const BESIDE = new Set([
  'affinity',
  'arguments',
  'dag',
  'data',
  'env',
  'envFrom',
  'inputs',
  'outputs',
  'resources',
  'securityContext',
  'selector',
  'status',
  'steps',
  'tolerations',
  'topologySpreadConstraints',
  'volumeClaimTemplates',
  'volumeMounts',
  'volumes',
]);

/** A list's entries by their names, in brackets: an entry more is a workload that is not on record yet, wherever it stands in the list. */
const ENTRY = /^\[.*\]$/su;

/** The part of a spec that speaks of pods. Lists become maps by the names of their entries. Of its own part it makes the same again. */
export function ownerText(spec: JsonObject): JsonObject {
  const out: Record<string, Json> = {};
  for (const [key, value] of Object.entries(spec)) {
    if (PLAIN.has(key)) out[key] = value;
    else if (key === 'labels') out[key] = keysBy(asObject(value), () => true);
    else if (key === 'annotations') {
      const annotations = meshAnnotations(asObject(value));
      if (Object.keys(annotations).length > 0) out[key] = annotations;
    } else if (key === 'containers') out[key] = [{ ports: portsIn(asArray(value)) }];
    else if (key === 'ports') {
      if (asArray(value).some((one) => asObject(one)['containerPort'] !== undefined))
        out[key] = portsIn([{ ports: asArray(value) }]);
    } else if (Array.isArray(value)) {
      const entries = entriesOf(value as readonly Json[]);
      if (Object.keys(entries).length > 0) out[key] = entries;
    } else if (!BESIDE.has(key) && isJsonObject(value)) {
      const inner = ownerText(value);
      if (Object.keys(inner).length > 0 || ENTRY.test(key)) out[key] = inner;
    }
  }
  return out;
}

function entriesOf(list: readonly Json[]): JsonObject {
  const named = list.map((item, index): readonly [string, Json] => {
    const { name, groupName } = asObject(item);
    return [`[${asString(name) ?? asString(groupName) ?? String(index)}]`, item];
  });
  return Object.fromEntries(
    named.flatMap(([key, item]) => (isJsonObject(item) ? [[key, ownerText(item)] as const] : [])),
  );
}

/**
 * The same without labels and ports that nothing names (`counts`), and without entries of lists that are not in `beside` too: those are new,
 * or gone.
 */
export function namedOwnerText(
  text: JsonObject,
  planned: JsonObject,
  beside: JsonObject,
  words: ReadonlySet<string>,
): JsonObject {
  const out: Record<string, Json> = {};
  for (const [key, value] of Object.entries(text)) {
    if (ENTRY.test(key) && beside[key] === undefined) continue;
    if (key === 'labels') out[key] = keysBy(asObject(value), (name) => MESH_LABEL.test(name) || words.has(name));
    else if (key === 'ports') out[key] = countingPorts(asArray(value), asArray(planned[key]), words);
    else if (key === 'containers') {
      const ports = (of: Json | undefined): readonly Json[] => asArray(asObject(asArray(of)[0])['ports']);
      out[key] = [{ ports: countingPorts(ports(value), ports(planned[key]), words) }];
    } else if (isJsonObject(value) && key !== 'annotations')
      out[key] = namedOwnerText(value, asObject(planned[key]), asObject(beside[key]), words);
    else out[key] = value;
  }
  return out;
}

/** Ports that were there when the plan was made, by themselves or by name, and those whose name something asks for. */
export function countingPorts(
  ports: readonly Json[],
  planned: readonly Json[],
  words: ReadonlySet<string>,
): readonly Json[] {
  return ports.filter((port) => {
    const { name } = asObject(port);
    const before = planned.some(
      (one) => equalJson(one, port) || (name !== undefined && asObject(one)['name'] === name),
    );
    return before || (typeof name === 'string' && words.has(name));
  });
}

/** Labels by which the meshes choose the pods and namespaces that they take in, and with which proxy. */
export const MESH_LABEL = /^istio-injection$|(?<!service\.)istio\.io\/|linkerd\.io\//u;

export function meshAnnotations(annotations: Readonly<Record<string, Json>>): JsonObject {
  return keysBy(annotations, (key) => key.includes('istio.io/'));
}

/** The ports of some containers, as of one: which of them has a port is the same to whoever calls it. */
export function portsIn(containers: readonly Json[]): readonly JsonObject[] {
  const all = containers
    .flatMap((one) => asArray(asObject(one)['ports']))
    .map((one): JsonObject => ({
      protocol: 'TCP',
      ...keysBy(asObject(one), (key) => ['name', 'containerPort', 'protocol'].includes(key)),
    }));
  const byText = new Map(
    all.map((port) => [JSON.stringify([port['name'] ?? '', port['containerPort'] ?? 0, port['protocol'] ?? '']), port]),
  );
  return sortBy([...byText], ([text]) => text).map(([, port]) => port);
}

export function keysBy(object: Readonly<Record<string, Json | undefined>>, keep: (key: string) => boolean): JsonObject {
  return Object.fromEntries(Object.entries(object).filter(([key]) => keep(key))) as JsonObject;
}
