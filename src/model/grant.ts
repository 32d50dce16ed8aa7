import type { JsonObject } from '../shared/pure/json.ts';
import { asArray, asObject, asString } from '../shared/pure/json.ts';
import { sortBy, uniqueSorted } from '../shared/pure/order.ts';
import type { Edge, Protocol } from './edge.ts';
import { endpointKey } from './edge.ts';
import type { KubeManifest, ObjectRef } from './object.ts';
import { annotationsOf, isObject, labelsOf, namespaceOf, refKey, refOf } from './object.ts';

/** On every object of a grant: its id. Together with the mark of Sallyport it says that the object may be taken away when it is over. */
export const GRANT_LABEL = 'sallyport.dev/grant';
/** When the grant is over, ISO 8601. */
export const EXPIRES_ANNOTATION = 'sallyport.dev/expires-at';
/** How long it was given for, in seconds: counted from the object's creation by the API server's own clock. */
export const LASTS_ANNOTATION = 'sallyport.dev/lasts-seconds';
export const GRANT_TEXT_ANNOTATION = 'sallyport.dev/grant-text';
export const GRANT_REASON_ANNOTATION = 'sallyport.dev/grant-reason';
export const GRANT_BY_ANNOTATION = 'sallyport.dev/grant-by';
/** On an object that was there before and only lent: the mTLS mode that it gets back. */
export const RESTORES_ANNOTATION = 'sallyport.dev/grant-restores-mtls';

/** On whatever ends grants in the cluster: see templates/grants. */
export const EXPIRER_LABEL = 'sallyport.dev/expirer';

/** What a grant puts on an object that was there before, and takes off again. */
export const LENT_ANNOTATIONS = [
  EXPIRES_ANNOTATION,
  GRANT_TEXT_ANNOTATION,
  GRANT_REASON_ANNOTATION,
  GRANT_BY_ANNOTATION,
  RESTORES_ANNOTATION,
] as const;

export const GRANT_KINDS = ['connection', 'person', 'break-glass'] as const;
export type GrantKind = (typeof GRANT_KINDS)[number];

/** What a step of a grant says of it; every step of one grant says the same. */
export interface GrantMark {
  readonly id: string;
  readonly kind: GrantKind;
  /** `desk/Deployment/toolbox -> shop/Deployment/db 5432/TCP`, for people. */
  readonly text: string;
  readonly reason: string;
  /** When it was given and when it is over, ms since the epoch by the operator's clock. */
  readonly since: number;
  readonly until: number;
  /** Of a connection: its ends. */
  readonly connection?: {
    readonly src: string;
    readonly dst: string;
    readonly protocol: Protocol;
    readonly port: number;
  };
  /** Of a person: the pods, `namespace/name`. */
  readonly pods?: readonly string[];
}

/** An object of a cluster or directory that a grant made or lent. */
export interface GrantObject {
  readonly id: string;
  readonly ref: ObjectRef;
  readonly object: KubeManifest;
  /** ms since the epoch; undefined where the object does not say it readably: such a grant is over. */
  readonly end: number | undefined;
  /** Made by the grant and deleted when it is over, or lent by it and given back. */
  readonly gives: { readonly kind: 'delete' } | { readonly kind: 'restore'; readonly mtls: string };
  readonly text: string;
  readonly reason: string;
  readonly by: string;
}

/**
 * When an object's grant is over: at its deadline, or when it has lasted as long as it was given for by the API server's own record of its
 * creation, whichever is first. An operator's clock that is ahead therefore prolongs nothing, and one that is behind only shortens.
 */
export function endOfGrant(object: KubeManifest): number | undefined {
  const annotations = annotationsOf(object);
  const deadline = Date.parse(annotations[EXPIRES_ANNOTATION] ?? '');
  if (Number.isNaN(deadline)) return undefined;
  const made = Date.parse(asString(object.metadata['creationTimestamp']) ?? '');
  const lasts = Number(annotations[LASTS_ANNOTATION] ?? NaN);
  return Number.isNaN(made) || Number.isNaN(lasts) ? deadline : Math.min(deadline, made + lasts * 1000);
}

const MANAGED = 'app.kubernetes.io/managed-by';

/** The objects of grants among others: those that bear the mark of Sallyport and a grant's id. Sorted by reference. */
export function grantObjects(objects: readonly KubeManifest[]): readonly GrantObject[] {
  const found = objects.flatMap((object): readonly GrantObject[] => {
    const labels = labelsOf(object);
    const id = labels[GRANT_LABEL];
    const annotations = annotationsOf(object);
    const mtls = annotations[RESTORES_ANNOTATION];
    // What was only lent may be somebody else's; what was made is ours.
    if (id === undefined || (mtls === undefined && labels[MANAGED] !== 'sallyport')) return [];
    return [
      {
        id,
        ref: refOf(object),
        object,
        end: endOfGrant(object),
        gives: mtls === undefined ? { kind: 'delete' } : { kind: 'restore', mtls },
        text: annotations[GRANT_TEXT_ANNOTATION] ?? '',
        reason: annotations[GRANT_REASON_ANNOTATION] ?? '',
        by: annotations[GRANT_BY_ANNOTATION] ?? '',
      },
    ];
  });
  return sortBy(found, (one) => refKey(one.ref));
}

/** Objects whose grant is over at `now`, ms since the epoch: what a watch, a run or the expirer takes away. */
export function expiredGrants(objects: readonly KubeManifest[], now: number): readonly GrantObject[] {
  return grantObjects(objects).filter(({ end }) => end === undefined || end <= now);
}

/** A grant as the record has it, whether or not it stands still. */
export interface PastGrant {
  readonly mark: GrantMark;
  /** When it was over in truth: taken back, or its deadline. */
  readonly ended: number;
}

const SESSIONS = ['pods/exec', 'pods/portforward'];
// Anybody may write a Role, and what is read here is shown in a command.
const POD_NAME = /^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/u;

/** The pods, `namespace/name`, that a Role lets somebody open a session in; none of any other object. Sorted. */
export function podsOfRole(object: KubeManifest): readonly string[] {
  const namespace = namespaceOf(object);
  if (namespace === undefined || !isObject(object, 'rbac.authorization.k8s.io', 'Role')) return [];
  const names = asArray(object['rules']).flatMap((rule) =>
    asArray(asObject(rule)['resources']).some((one) => SESSIONS.includes(asString(one) ?? ''))
      ? asArray(asObject(rule)['resourceNames']).flatMap((name) => asString(name) ?? [])
      : [],
  );
  return uniqueSorted(names.filter((name) => POD_NAME.test(name)).map((name) => `${namespace}/${name}`));
}

/**
 * What the end of a right to exec or port-forward does not end. The API server asks for the right when a session begins; then it is a
 * connection that only its ends close: the client, the pod's end, or the node's limit for idle ones (kubelet
 * `streamingConnectionIdleTimeout`, container runtime `stream_idle_timeout`: 4 h unless set).
 */
export function sessionLeft(pod: string): string {
  const [namespace = '', name = ''] = pod.split('/');
  return `a session in ${pod} that is open goes on until its client leaves: kubectl delete pod -n ${namespace} ${name} ends it`;
}

const day = (time: number): string => new Date(time).toISOString().slice(0, 10);

/**
 * What passed only because a grant let it pass is no evidence that it must pass: such an edge counts as one that may be cut, until a person
 * adopts it. Edges that were seen before or after the grant as well are left as they are.
 */
export function withoutGranted(edges: readonly Edge[], grants: readonly PastGrant[]): readonly Edge[] {
  const byPair = Map.groupBy(
    grants.filter(({ mark }) => mark.connection !== undefined),
    ({ mark }) => `${mark.connection?.src ?? ''}\n${mark.connection?.dst ?? ''}`,
  );
  if (byPair.size === 0) return edges;
  return edges.map((edge) => {
    if (edge.review !== 'unreviewed' || edge.origin.kind !== 'observed' || edge.endPort !== undefined) return edge;
    const granted = (byPair.get(`${endpointKey(edge.src)}\n${endpointKey(edge.dst)}`) ?? []).filter(
      ({ mark }) => mark.connection?.port === edge.port && mark.connection.protocol === edge.protocol,
    );
    if (granted.length === 0 || edge.days.length === 0) return edge;
    const within = (one: string): boolean =>
      granted.some(({ mark, ended }) => one >= day(mark.since) && one <= day(ended));
    return edge.days.every(within) ? { ...edge, review: 'to-be-cut' } : edge;
  });
}

/** The annotations of an object that a grant makes. */
function grantAnnotations(mark: GrantMark, by: string): Readonly<Record<string, string>> {
  return {
    [EXPIRES_ANNOTATION]: new Date(mark.until).toISOString(),
    [GRANT_TEXT_ANNOTATION]: mark.text,
    [GRANT_REASON_ANNOTATION]: mark.reason,
    [GRANT_BY_ANNOTATION]: by,
  };
}

/** Those of an object that is lent, and gets back this mode of mTLS. Its creation says nothing of the grant, so that it has no duration. */
export function lentAnnotations(mark: GrantMark, by: string, mtls: string): Readonly<Record<string, string>> {
  return { ...grantAnnotations(mark, by), [RESTORES_ANNOTATION]: mtls };
}

/** The same object as one of a grant. */
export function asGranted(object: KubeManifest, mark: GrantMark, by: string): KubeManifest {
  const { metadata } = object;
  const labels = metadata['labels'] as JsonObject | undefined;
  const annotations = metadata['annotations'] as JsonObject | undefined;
  return {
    ...object,
    metadata: {
      ...metadata,
      labels: { ...labels, [GRANT_LABEL]: mark.id },
      annotations: {
        ...annotations,
        ...grantAnnotations(mark, by),
        [LASTS_ANNOTATION]: String(Math.ceil((mark.until - mark.since) / 1000)),
      },
    },
  };
}
