/**
 * Istio's PeerAuthentication and AuthorizationPolicy for one request of which everything is known, written as the documentation reads:
 * regular expressions, no shortcuts, no unknowns, and nothing of src/model. Slow and plain on purpose: the evaluator is held to it.
 */

export interface NaiveRequest {
  readonly method: string;
  readonly path: string;
  readonly host: string;
  readonly headers: Readonly<Record<string, string>>;
}

export interface NaiveCall {
  /** Undefined for a client without a sidecar. */
  readonly client: { readonly namespace: string; readonly account: string } | undefined;
  readonly clientIp: string;
  readonly server: {
    readonly namespace: string;
    readonly labels: Readonly<Record<string, string>>;
    readonly ip: string;
  };
  readonly port: number;
  /** Undefined where the port carries no HTTP. */
  readonly request: NaiveRequest | undefined;
}

interface Thing {
  readonly metadata: {
    readonly name: string;
    readonly namespace: string;
    readonly creationTimestamp?: string;
    readonly annotations?: Readonly<Record<string, string>>;
  };
}

interface Mode {
  readonly mode?: string;
}

export interface NaivePeer extends Thing {
  readonly kind: 'PeerAuthentication';
  readonly spec: {
    readonly selector?: { readonly matchLabels: Readonly<Record<string, string>> };
    readonly mtls?: Mode;
    readonly portLevelMtls?: Readonly<Record<string, Mode>>;
  };
}

type Fields = Readonly<Record<string, readonly string[]>>;

export interface NaivePolicy extends Thing {
  readonly kind: 'AuthorizationPolicy';
  readonly spec: {
    readonly selector?: { readonly matchLabels: Readonly<Record<string, string>> };
    readonly action?: string;
    readonly rules?: readonly {
      readonly from?: readonly { readonly source: Fields }[];
      readonly to?: readonly { readonly operation: Fields }[];
      readonly when?: readonly {
        readonly key: string;
        readonly values?: readonly string[];
        readonly notValues?: readonly string[];
      }[];
    }[];
  };
}

const ROOT = 'istio-system';

function selects(labels: Readonly<Record<string, string>> | undefined, own: Readonly<Record<string, string>>): boolean {
  return Object.entries(labels ?? {}).every(([key, value]) => own[key] === value);
}

function isWide({ spec }: NaivePeer): boolean {
  return Object.keys(spec.selector?.matchLabels ?? {}).length === 0;
}

/** STRICT, PERMISSIVE or DISABLE. */
function modeOf(peers: readonly NaivePeer[], call: NaiveCall): string {
  const age = ({ metadata }: NaivePeer): string => `${metadata.creationTimestamp ?? ''} ${metadata.name}`;
  const sorted = [...peers].sort((a, b) => (age(a) < age(b) ? -1 : 1));
  const mesh = sorted.find((one) => one.metadata.namespace === ROOT && isWide(one));
  const namespace = sorted.find((one) => one.metadata.namespace === call.server.namespace && isWide(one));
  const workload = sorted.find(
    (one) =>
      one.metadata.namespace === call.server.namespace &&
      !isWide(one) &&
      selects(one.spec.selector?.matchLabels, call.server.labels),
  );
  const said = [
    workload?.spec.portLevelMtls?.[String(call.port)]?.mode,
    workload?.spec.mtls?.mode,
    namespace?.spec.mtls?.mode,
    mesh?.spec.mtls?.mode,
  ];
  return said.find((mode) => mode !== undefined && mode !== 'UNSET') ?? 'PERMISSIVE';
}

/** What a client's proxy goes by: the namespace as a whole. */
function namespaceMode(peers: readonly NaivePeer[], call: NaiveCall): string {
  return modeOf(peers.filter(isWide), call);
}

const quote = (text: string): string => text.replace(/[.*+?^${}()|[\]\\/-]/gu, '\\$&');

function pattern(value: string): RegExp {
  if (value === '*') return /^.+$/su;
  if (value.startsWith('*')) return new RegExp(`^.*${quote(value.slice(1))}$`, 'su');
  if (value.endsWith('*')) return new RegExp(`^${quote(value.slice(0, -1))}.*$`, 'su');
  return new RegExp(`^${quote(value)}$`, 'su');
}

function template(value: string): RegExp {
  const letters = "[a-zA-Z0-9\\-._~%!$&'()+,;:@=";
  const parts = value.split(/(\{\*\*?\})/u).map((part) => {
    if (part === '{*}') return `${letters}]+`;
    return part === '{**}' ? `${letters}/]*` : quote(part);
  });
  return new RegExp(`^${parts.join('')}$`, 'su');
}

function inBlock(block: string, ip: string): boolean {
  const number = (text: string): number => text.split('.').reduce((sum, part) => sum * 256 + Number(part), 0);
  const [base = '', bits = '32'] = block.split('/');
  const size = 2 ** (32 - Number(bits));
  return Math.floor(number(base) / size) === Math.floor(number(ip) / size);
}

/** Undefined for a field of HTTP where there is none. */
function fieldMatches(
  field: string,
  values: readonly string[],
  call: NaiveCall,
  policy: NaivePolicy,
): boolean | undefined {
  const { client, request } = call;
  const spiffe = client === undefined ? undefined : `cluster.local/ns/${client.namespace}/sa/${client.account}`;
  const some = (test: (value: string) => boolean): boolean => values.some(test);
  switch (field) {
    case 'principals':
    case 'source.principal':
      return spiffe !== undefined && some((value) => pattern(value).test(spiffe));
    case 'namespaces':
    case 'source.namespace':
      return (
        spiffe !== undefined &&
        some((value) => new RegExp(`/ns/${value.split('*').map(quote).join('.*')}/`, 'u').test(spiffe))
      );
    case 'serviceAccounts':
    case 'source.serviceAccount':
      return (
        client !== undefined &&
        some((value) => {
          const full = value.includes('/') ? value : `${policy.metadata.namespace}/${value}`;
          return full === `${client.namespace}/${client.account}`;
        })
      );
    case 'ipBlocks':
    case 'source.ip':
      return some((value) => inBlock(value, call.clientIp));
    case 'destination.ip':
      return some((value) => inBlock(value, call.server.ip));
    case 'ports':
    case 'destination.port':
      return some((value) => Number(value) === call.port);
    case 'requestPrincipals':
    case 'request.auth.principal':
      return request === undefined ? undefined : false;
    case 'methods':
      return request === undefined ? undefined : some((value) => pattern(value).test(request.method));
    case 'hosts':
      return request === undefined
        ? undefined
        : some((value) => pattern(value.toLowerCase()).test(request.host.toLowerCase()));
    case 'paths': {
      if (request === undefined) return undefined;
      const [path = ''] = request.path.split('?');
      return some((value) => (value.includes('{') ? template(value) : pattern(value)).test(path));
    }
    default: {
      const header = /^request\.headers\[(.+)\]$/u.exec(field)?.[1]?.toLowerCase();
      if (header === undefined) throw new Error(`no field ${field}`);
      if (request === undefined) return undefined;
      const text = request.headers[header];
      return text !== undefined && some((value) => pattern(value).test(text));
    }
  }
}

function positive(field: string): { readonly name: string; readonly negated: boolean } {
  if (!field.startsWith('not')) return { name: field, negated: false };
  return { name: `${field.slice(3, 4).toLowerCase()}${field.slice(4)}`, negated: true };
}

function policyMatches(policy: NaivePolicy, call: NaiveCall): boolean {
  const allows = (policy.spec.action ?? 'ALLOW') === 'ALLOW';
  return (policy.spec.rules ?? []).some((rule) => {
    const lost: string[] = [];
    const one = (field: string, values: readonly string[], negated: boolean): boolean => {
      const matches = fieldMatches(field, values, call, policy);
      if (matches === undefined) {
        lost.push(field);
        return true;
      }
      return negated ? !matches : matches;
    };
    const all = (fields: Fields): boolean =>
      Object.entries(fields)
        .map(([field, values]) => one(positive(field).name, values, positive(field).negated))
        .every(Boolean);
    const from = (rule.from ?? []).map(({ source }) => all(source));
    const to = (rule.to ?? []).map(({ operation }) => all(operation));
    const when = (rule.when ?? []).flatMap(({ key, values, notValues }) => [
      values === undefined ? true : one(key, values, false),
      notValues === undefined ? true : one(key, notValues, true),
    ]);
    if (allows && lost.length > 0) return false;
    return (from.length === 0 || from.includes(true)) && (to.length === 0 || to.includes(true)) && when.every(Boolean);
  });
}

/** Is the request let through: mTLS first, then DENY, then ALLOW. */
export function naiveAllows(objects: readonly (NaivePeer | NaivePolicy)[], call: NaiveCall): boolean {
  const peers = objects.filter((one) => one.kind === 'PeerAuthentication');
  const mode = modeOf(peers, call);
  const speaksTls = call.client !== undefined && mode !== 'DISABLE' && namespaceMode(peers, call) !== 'DISABLE';
  if (mode === 'STRICT' && !speaksTls) return false;
  const seen: NaiveCall = speaksTls ? call : { ...call, client: undefined };
  const policies = objects.filter(
    (one) =>
      one.kind === 'AuthorizationPolicy' &&
      [call.server.namespace, ROOT].includes(one.metadata.namespace) &&
      one.metadata.annotations?.['istio.io/dry-run'] !== 'true' &&
      selects(one.spec.selector?.matchLabels, call.server.labels),
  ) as readonly NaivePolicy[];
  const action = ({ spec }: NaivePolicy): string => spec.action ?? 'ALLOW';
  if (policies.some((one) => action(one) === 'DENY' && policyMatches(one, seen))) return false;
  const allows = policies.filter((one) => action(one) === 'ALLOW');
  return allows.length === 0 || allows.some((one) => policyMatches(one, seen));
}
