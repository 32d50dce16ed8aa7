import { gunzipSync, gzipSync } from 'node:zlib';
import type { KeptUndo, UndoStore } from '../engine/contract.ts';
import { EXIT, Failure, messageOf } from '../shared/pure/errors.ts';
import { sha256 } from '../shared/pure/hash.ts';
import type { Json, JsonObject } from '../shared/pure/json.ts';
import { asObject, asString } from '../shared/pure/json.ts';
import { safeText } from '../shared/pure/text.ts';
import type { ApiAnswer, ApiCall, CallSubject, KubeApi } from '../sources/kube/index.ts';
import { failureOf, isOutcomeUnknown, UNDO_CONFIG_MAPS, UNDO_NAMESPACE } from '../sources/kube/index.ts';
import type { Fence } from './lease.ts';
import { FIELD_MANAGER } from './own-fields.ts';

/** An object may hold 1 MiB (https://kubernetes.io/docs/concepts/configuration/configmap/); names and the rest take some of it. */
const MOST_BYTES = 1_000_000;
/** A record that unpacks to more than this is not one of ours. */
const MOST_UNPACKED_BYTES = 256 * 1024 * 1024;
const ATTEMPTS = 4;

interface Slot {
  readonly name: string;
  readonly live: JsonObject | undefined;
}

/**
 * Ways back in the cluster: ConfigMaps of kube-system with fixed names, so that a role can name them and no tenant can write them (whoever
 * takes a namespace back runs what stands there). A namespace has three keys in the one that its name's hash points at: `NS.sh.gz`, the bundle
 * as one script, `NS.md`, how to take it out and run it, and `NS.json.gz`, the record. (Older ones have `NS.sh`, which is not packed: their pages
 * say so, and the next writing takes its place.) Every write carries the resourceVersion that was read: several operators share a
 * ConfigMap. While Leases are held every write is made under them (`fence`): a record is never put over a newer one by somebody who has
 * lost them. Errors: those of the API server (exit 4); SP460 (exit 4), no room.
 */
export function openUndoCluster(api: KubeApi, fence?: Fence): UndoStore {
  const seen = new Map<string, Slot>();

  const read = async (name: string): Promise<Slot> => {
    const subject = subjectOf('reading', 'get', name);
    const answer = await api.send({ method: 'GET', path: pathOf(name), subject });
    if (!answer.ok && !isStatus(answer, 404)) throw failureOf(answer.problem, subject, api);
    const slot = { name, live: answer.ok ? answer.body : undefined };
    seen.set(name, slot);
    return slot;
  };

  /** `edit` gives back the entries that are to stand there, or undefined where they do already. */
  const change = async (
    name: string,
    edit: (data: JsonObject, binary: JsonObject) => readonly [JsonObject, JsonObject] | undefined,
  ): Promise<void> => {
    for (let attempt = 1; ; attempt += 1) {
      // What was read a moment ago need not be read again: the version decides.
      const slot = attempt === 1 ? (seen.get(name) ?? (await read(name))) : await read(name);
      const edited = edit(asObject(slot.live?.['data']), asObject(slot.live?.['binaryData']));
      if (edited === undefined) return;
      const [data, binaryData] = edited;
      const call = callFor(slot, data, binaryData);
      const { subject } = call;
      await fence?.ensure();
      const answer = await api.send(fence === undefined ? call : { ...call, maySend: () => fence.isOpen() });
      seen.delete(name);
      if (answer.ok) {
        if (call.method !== 'DELETE') seen.set(name, { name, live: answer.body });
        return;
      }
      const { problem } = answer;
      // Somebody was faster, or it is not known whether it was written: what is there now decides.
      const heldBack = problem.kind === 'no-answer' && problem.why === 'fenced';
      const again = isStatus(answer, 409) || isStatus(answer, 404) || isOutcomeUnknown(problem) || heldBack;
      if (!again || attempt === ATTEMPTS) throw failureOf(problem, subject, api);
    }
  };

  return {
    place: `ConfigMaps ${UNDO_NAMESPACE}/${UNDO_CONFIG_MAPS[0] ?? ''} to ${UNDO_CONFIG_MAPS.at(-1) ?? ''}`,
    exposed: true,
    stepwise: true,
    read: async (namespace) => {
      const name = slotOf(namespace);
      return unpack((await read(name)).live, namespace, name);
    },
    list: async () => {
      const found: { namespace: string; record: Json }[] = [];
      for (const name of UNDO_CONFIG_MAPS) {
        const { live } = await read(name);
        for (const key of Object.keys(asObject(live?.['binaryData'])).sort()) {
          if (!key.endsWith(RECORD)) continue;
          const namespace = key.slice(0, -RECORD.length);
          const record = unpack(live, namespace, name);
          if (record !== undefined) found.push({ namespace, record });
        }
      }
      return found;
    },
    write: async (kept) => {
      const name = slotOf(kept.namespace);
      const mine = entriesOf(kept, name);
      await change(name, (data, binary) => {
        const entries = [
          { ...without(data, keysOf(kept.namespace)), ...mine.data },
          { ...without(binary, keysOf(kept.namespace)), ...mine.binary },
        ] as const;
        const bytes = Buffer.byteLength(JSON.stringify(entries));
        if (bytes > MOST_BYTES) throw noRoom(kept.namespace, name, bytes);
        return entries;
      });
    },
    remove: (namespace) =>
      change(slotOf(namespace), (data, binary) => {
        const keys = keysOf(namespace);
        if (![...Object.keys(data), ...Object.keys(binary)].some((key) => keys.includes(key))) return undefined;
        return [without(data, keys), without(binary, keys)];
      }),
  };
}

/** Nothing of ours is left behind: what holds no way back any more goes. */
function callFor({ name, live }: Slot, data: JsonObject, binaryData: JsonObject): ApiCall {
  if (live !== undefined && Object.keys(data).length + Object.keys(binaryData).length === 0) {
    const { uid, resourceVersion } = asObject(live['metadata']);
    return {
      method: 'DELETE',
      path: pathOf(name),
      body: {
        apiVersion: 'v1',
        kind: 'DeleteOptions',
        preconditions: {
          ...(uid === undefined ? {} : { uid }),
          ...(resourceVersion === undefined ? {} : { resourceVersion }),
        },
      },
      subject: subjectOf('removing', 'delete', name),
    };
  }
  return {
    method: live === undefined ? 'POST' : 'PUT',
    path: live === undefined ? pathOf() : pathOf(name),
    query: { fieldManager: FIELD_MANAGER },
    body: { ...(live ?? fresh(name)), data, binaryData },
    subject: subjectOf('keeping the way back in', live === undefined ? 'create' : 'update', name),
  };
}

const RECORD = '.json.gz';
const SCRIPT = '.sh.gz';

function keysOf(namespace: string): readonly string[] {
  return [`${namespace}.sh`, `${namespace}${SCRIPT}`, `${namespace}.md`, `${namespace}${RECORD}`];
}

/** The same for every version: 16 buckets by the first digit of the hash. */
function slotOf(namespace: string): string {
  const name = UNDO_CONFIG_MAPS[Number.parseInt(sha256(namespace).slice(0, 1), 16)];
  if (name === undefined) throw new Error('there are sixteen places for ways back');
  return name;
}

function entriesOf(kept: KeptUndo, name: string): { readonly data: JsonObject; readonly binary: JsonObject } {
  const { namespace } = kept;
  const get = `kubectl get configmap ${name} -n ${UNDO_NAMESPACE} -o go-template='{{index .binaryData "${namespace}${SCRIPT}"}}' | base64 -d | gunzip > undo.sh`;
  const readme = kept.files.find((file) => file.name === 'README.md')?.text ?? '';
  return {
    data: { [`${namespace}.md`]: `<!-- The script of this page: ${get} -->\n${readme}` },
    binary: {
      [`${namespace}${SCRIPT}`]: packed(kept.script),
      [`${namespace}${RECORD}`]: packed(JSON.stringify(kept.record)),
    },
  };
}

function packed(text: string): string {
  return gzipSync(text, { level: 9 }).toString('base64');
}

function unpack(live: JsonObject | undefined, namespace: string, name: string): Json | undefined {
  const text = asString(asObject(live?.['binaryData'])[`${namespace}${RECORD}`]);
  if (text === undefined) return undefined;
  try {
    const bytes = gunzipSync(Buffer.from(text, 'base64'), { maxOutputLength: MOST_UNPACKED_BYTES });
    return JSON.parse(bytes.toString('utf8')) as Json;
  } catch (error) {
    throw new Failure({
      code: 'SP461',
      exit: EXIT.cluster,
      message: `the record of ${safeText(namespace)} cannot be read: ${messageOf(error)}`,
      where: `ConfigMap ${UNDO_NAMESPACE}/${name}, key ${safeText(namespace)}${RECORD}`,
      hint: 'somebody else wrote it: restore it, or remove its keys where a whole state is at hand',
      cause: error,
    });
  }
}

function noRoom(namespace: string, name: string, bytes: number): Failure {
  return new Failure({
    code: 'SP460',
    exit: EXIT.cluster,
    message: `the way back of ${safeText(namespace)} does not fit into the cluster: with it the ConfigMap would have ${bytes} bytes, and ${MOST_BYTES} are the most`,
    where: `ConfigMap ${UNDO_NAMESPACE}/${name}`,
    hint: 'keep it in a folder instead: undo: {path: DIR, cluster: off} in the configuration',
  });
}

function fresh(name: string): JsonObject {
  return {
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { name, namespace: UNDO_NAMESPACE, labels: { 'app.kubernetes.io/managed-by': 'sallyport' } },
  };
}

function without(entries: JsonObject, keys: readonly string[]): JsonObject {
  return Object.fromEntries(Object.entries(entries).filter(([key]) => !keys.includes(key)));
}

function pathOf(name?: string): string {
  return `/api/v1/namespaces/${UNDO_NAMESPACE}/configmaps${name === undefined ? '' : `/${name}`}`;
}

function subjectOf(doing: string, verb: string, name: string): CallSubject {
  return {
    doing: `${doing} ConfigMap ${UNDO_NAMESPACE}/${name}`,
    verb,
    resource: 'configmaps',
    namespace: UNDO_NAMESPACE,
    name,
  };
}

function isStatus(answer: ApiAnswer, status: number): boolean {
  return !answer.ok && answer.problem.kind === 'refused' && answer.problem.status === status;
}
