import { EXIT, Failure } from '../shared/pure/errors.ts';

/** Where traces go. Read for every command, so nothing is loaded for it. */
export type TraceSettings =
  | { readonly kind: 'off' }
  /** Asked for by the environment, and not possible. */
  | { readonly kind: 'wrong'; readonly why: string }
  /** `url`: of traces, whole. */
  | { readonly kind: 'on'; readonly url: string };

type Env = Readonly<Record<string, string | undefined>>;

/** Where the specification of OTLP/HTTP puts traces below the endpoint that all signals share. */
const PATH = 'v1/traces';

/**
 * Off, unless `--otlp` or one of the variables that OpenTelemetry's SDKs read names a collector; the flag counts first. What is wrong with the flag is SP135,
 * what is wrong with the environment, which other programs share, is told and fails nothing.
 * Source: opentelemetry.io/docs/specs/otel/protocol/exporter, .../configuration/sdk-environment-variables.
 */
export function traceSettings(flag: string | undefined, env: Env): TraceSettings {
  if (flag !== undefined) {
    const read = endpoint(flag, PATH);
    if (read.kind === 'on') return read;
    throw new Failure({
      code: 'SP135',
      exit: EXIT.usage,
      message: `--otlp ${read.why}`,
      where: '--otlp',
      hint: '--otlp http://127.0.0.1:4318, where a collector takes OTLP over HTTP',
    });
  }
  const value = (name: string): string | undefined => {
    const text = env[name]?.trim();
    return text === undefined || text === '' ? undefined : text;
  };
  const one = value('OTEL_EXPORTER_OTLP_TRACES_ENDPOINT');
  const all = value('OTEL_EXPORTER_OTLP_ENDPOINT');
  const isOff = value('OTEL_SDK_DISABLED')?.toLowerCase() === 'true' || value('OTEL_TRACES_EXPORTER') === 'none';
  if (isOff || (one === undefined && all === undefined)) return { kind: 'off' };
  const name = one === undefined ? 'OTEL_EXPORTER_OTLP_ENDPOINT' : 'OTEL_EXPORTER_OTLP_TRACES_ENDPOINT';
  const protocol = value('OTEL_EXPORTER_OTLP_TRACES_PROTOCOL') ?? value('OTEL_EXPORTER_OTLP_PROTOCOL');
  if (protocol === 'grpc')
    return {
      kind: 'wrong',
      why: `${name} is for gRPC, as OTEL_EXPORTER_OTLP_PROTOCOL says, and traces are sent over HTTP: --otlp names another endpoint`,
    };
  const read = endpoint(one ?? all ?? '', one === undefined ? PATH : '');
  return read.kind === 'wrong' ? { kind: 'wrong', why: `${name} ${read.why}` } : read;
}

function endpoint(text: string, path: string): Exclude<TraceSettings, { kind: 'off' }> {
  let url: URL;
  try {
    url = new URL(text);
  } catch {
    return { kind: 'wrong', why: 'is not an address' };
  }
  if (url.protocol !== 'http:' && url.protocol !== 'https:')
    return { kind: 'wrong', why: 'begins with neither http:// nor https://' };
  if (url.username !== '' || url.password !== '')
    return { kind: 'wrong', why: 'holds a password: OTEL_EXPORTER_OTLP_HEADERS is for credentials' };
  if (path !== '') url.pathname = `${url.pathname.replace(/\/+$/u, '')}/${path}`;
  return { kind: 'on', url: url.href };
}
