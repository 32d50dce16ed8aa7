import type { Json, JsonObject } from '../shared/pure/json.ts';
import { asArray, asObject, asString, isJsonObject } from '../shared/pure/json.ts';
import type { Labels } from './inventory.ts';
import type { IstioBase, TargetRef } from './istio-types.ts';
import type { KubeManifest } from './object.ts';
import { formatRef, namespaceOf, refOf } from './object.ts';
import type { Problem } from './problem.ts';
import { refused } from './problem.ts';
import type { Requirement, Selector } from './selector.ts';
import { parseMatchLabels } from './selector.ts';

export function baseOf(manifest: KubeManifest, problems: readonly Problem[]): IstioBase {
  const created = asString(manifest.metadata['creationTimestamp']);
  const at = created === undefined ? Number.NaN : Date.parse(created);
  return {
    name: formatRef(refOf(manifest)),
    namespace: namespaceOf(manifest) ?? 'default',
    // What a plan is going to create is younger than all that stands.
    created: Number.isNaN(at) ? Number.POSITIVE_INFINITY : at,
    problems,
  };
}

/** Fields that are not in the schema read here have an effect that is not known. */
export function checkFields(object: JsonObject, field: string, known: readonly string[], problems: Problem[]): void {
  for (const [key, value] of Object.entries(object)) {
    if (value !== null && !known.includes(key)) {
      problems.push({ field: `${field}.${key}`, message: 'is not a field that is known', kind: 'unknown-field' });
    }
  }
}

export function parseLabels(
  value: Json | undefined,
  field: string,
  name: string,
  problems: Problem[],
): Selector | undefined {
  if (value === undefined || value === null) return undefined;
  if (!isJsonObject(value)) {
    problems.push(refused(field, 'is not an object'));
    return undefined;
  }
  checkFields(value, field, [name], problems);
  const requirements: Requirement[] = [];
  parseMatchLabels(value[name], `${field}.${name}`, requirements, problems);
  return requirements.length === 0 ? undefined : { requirements };
}

export function hasValue(value: Json | undefined): boolean {
  return value !== undefined && value !== null;
}

export function parseTargets(spec: JsonObject): readonly TargetRef[] {
  const listed = asArray(spec['targetRefs']);
  // The list wins over the single one of older releases.
  const refs = listed.length > 0 ? listed : hasValue(spec['targetRef']) ? [spec['targetRef'] ?? null] : [];
  return refs.map(asObject).map((ref) => {
    const namespace = asString(ref['namespace']);
    return {
      group: asString(ref['group']) ?? '',
      kind: asString(ref['kind']) ?? '',
      name: asString(ref['name']) ?? '',
      ...(namespace === undefined || namespace === '' ? {} : { namespace }),
    };
  });
}

/** Strings of a list; whatever else stands in it is a problem. */
export function parseTexts(value: Json | undefined, field: string, problems: Problem[]): readonly string[] {
  if (!hasValue(value)) return [];
  if (!Array.isArray(value)) problems.push(refused(field, 'is not a list'));
  const texts = asArray(value).filter((one): one is string => typeof one === 'string');
  if (texts.length < asArray(value).length) problems.push(refused(field, 'holds something that is no text'));
  if (texts.includes('')) problems.push(refused(field, 'holds an empty text'));
  return texts;
}

/** What labels name as the waypoint of their object: `namespace/name`, `none` for no waypoint, undefined where they say nothing. */
export function waypointNamed(labels: Labels, namespace: string): string | undefined {
  const own = (key: string): string | undefined => (Object.hasOwn(labels, key) ? labels[key] : undefined);
  const name = own('istio.io/use-waypoint');
  if (name === undefined || name === 'none') return name;
  return `${own('istio.io/use-waypoint-namespace') ?? namespace}/${name}`;
}
