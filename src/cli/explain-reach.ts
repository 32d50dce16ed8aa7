import type { Connection } from '../model/connectivity.ts';
import type { Protocol } from '../model/edge.ts';
import { evaluateConnection } from '../model/evaluate.ts';
import type { ConnectionQuery, ConnectionVerdict, Reason, World } from '../model/evaluate.ts';
import type { Origin, Workload } from '../model/inventory.ts';
import type { KubeManifest } from '../model/object.ts';
import { formatRef, refKey, refOf } from '../model/object.ts';
import { safeText } from '../shared/pure/text.ts';
import { flipOf } from './flip-reach.ts';
import type { Query, ShownConnection, Why } from './render-reach.ts';

/** Where an object stands: its file and line, or its resourceVersion. By its name for people. */
export type Places = ReadonlyMap<string, string>;

/** `inDirectory` is put before the file names of a directory other than the cluster's own. */
export function placesOf(
  objects: readonly KubeManifest[],
  origins: ReadonlyMap<string, Origin>,
  inDirectory?: string,
): Places {
  const places = new Map<string, string>();
  for (const object of objects) {
    const ref = refOf(object);
    const origin = origins.get(refKey(ref));
    const version = object.metadata['resourceVersion'];
    const before = inDirectory === undefined ? '' : `${inDirectory.replace(/\/+$/u, '')}/`;
    if (origin !== undefined) places.set(formatRef(ref), safeText(`${before}${origin.file}:${origin.line}`));
    else if (typeof version === 'string') places.set(formatRef(ref), safeText(`resourceVersion ${version}`));
  }
  return places;
}

function whyOf({ decision, object, rule, text }: Reason, places: Places): Why {
  return {
    decision,
    object: object ?? null,
    rule: rule ?? null,
    where: object === undefined ? null : (places.get(object) ?? null),
    text,
  };
}

function reasonsOf({ answer, reasons }: ConnectionVerdict, places: Places): readonly Why[] {
  const deciding = { allowed: 'allows', denied: 'denies', unknown: 'unknown' } as const;
  // All that allow are needed; of what denies or is unknown each suffices, and the rest is beside the point.
  const own = reasons.filter(({ decision }) => decision === deciding[answer]);
  return own.map((reason) => whyOf(reason, places));
}

/** A connection with what decides on each of its runs of ports. */
export function explainConnection(
  world: World,
  connection: Connection,
  mesh: boolean,
  places: Places,
): ShownConnection {
  const ends = {
    src: { kind: 'workload', id: connection.src },
    dst: { kind: 'workload', id: connection.dst },
  } as const;
  const why = (protocol: Protocol, from: number, to: number, answer: ConnectionVerdict['answer']): readonly Why[] => {
    const whole = { ...ends, protocol, port: from, ...(to === from ? {} : { endPort: to }) };
    const verdict = evaluateConnection(world, whole, { mesh });
    // Rules that admit a run of ports only together, and pod sets that listen on one of them: the first port then.
    const sure =
      verdict.answer === answer ? verdict : evaluateConnection(world, { ...ends, protocol, port: from }, { mesh });
    return reasonsOf(sure, places);
  };
  return {
    ...connection,
    allowed: connection.allowed.map((one) => ({ ...one, why: why(one.protocol, one.from, one.to, 'allowed') })),
    unknown: connection.unknown.map((one) => ({ ...one, why: why(one.protocol, one.from, one.to, 'unknown') })),
  };
}

export interface Asked {
  readonly src: Workload;
  readonly dst: Workload;
  readonly protocol: Protocol;
  readonly port: number;
}

/** The answer to one question; with `explain` what decides, and the smallest change found that would turn it over. */
export function answerQuery(world: World, asked: Asked, mesh: boolean, explain: boolean, places: Places): Query {
  const query: ConnectionQuery = {
    src: { kind: 'workload', id: asked.src.id },
    dst: { kind: 'workload', id: asked.dst.id },
    protocol: asked.protocol,
    port: asked.port,
  };
  const verdict = evaluateConnection(world, query, { mesh });
  const base = { src: asked.src.id, dst: asked.dst.id, protocol: asked.protocol, port: asked.port };
  if (!explain) return { ...base, answer: verdict.answer };
  return {
    ...base,
    answer: verdict.answer,
    reasons: reasonsOf(verdict, places),
    flip: flipOf(world, asked, query, verdict, mesh, places),
  };
}
