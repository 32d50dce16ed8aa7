import { ROOT_CONTEXT, SpanKind, SpanStatusCode, trace } from '@opentelemetry/api';
import type { Context, Link, TextMapGetter } from '@opentelemetry/api';
import { ExportResultCode, W3CTraceContextPropagator } from '@opentelemetry/core';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http';
import { defaultResource, detectResources, envDetector, resourceFromAttributes } from '@opentelemetry/resources';
import { BatchSpanProcessor, TracerProvider } from '@opentelemetry/sdk-trace';
import type { SpanExporter } from '@opentelemetry/sdk-trace';
import { installTracer, within } from '../shared/io/trace.ts';
import type { Attributes, OpenSpan } from '../shared/io/trace.ts';
import { isFailure, messageOf } from '../shared/pure/errors.ts';
import { plural, safeText } from '../shared/pure/text.ts';

/** What a collector that does not answer costs at the end of a command. */
const FLUSH_MS = 2_000;
/** Spans that wait to be sent: a command that reads a large cluster makes thousands. */
const MOST_WAITING = 10_000;
/** The longest ids of workloads are below; what is longer is nobody's name. */
const LONGEST = 300;
/** Of a collector's error. */
const LONGEST_WHY = 120;

export interface TracingOptions {
  /** Where traces go, whole. */
  readonly url: string;
  readonly command: string;
  /** It goes on until somebody ends it: what is done in it is a trace each, with a link to it. */
  readonly isLong: boolean;
  readonly version: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Hears at most once that spans are lost: at once, or at the end. */
  readonly warn: (text: string) => void;
  readonly warnAtOnce: boolean;
}

export interface Tracing {
  /** Does the command as the outermost span. */
  command<T>(work: () => Promise<T>): Promise<T>;
  /** Says how the command ended, and sends what is left, in two seconds at most. False: a request may still be under way. */
  end(exit: number, code: string | undefined): Promise<boolean>;
}

/**
 * Spans to a collector, as OTLP over HTTP in JSON. Headers, certificates, compression and the attributes of the resource come from the
 * variables that the exporter and the resource read by themselves. TRACEPARENT and TRACESTATE name the span of whoever called, and whether it
 * is recorded (opentelemetry.io/docs/specs/otel/context/env-carriers).
 */
export function openTracing(options: TracingOptions): Tracing {
  const { url, env, version } = options;
  let lost = 0;
  let why = '';
  let isSaid = false;
  const say = (): void => {
    if (lost === 0 || isSaid) return;
    isSaid = true;
    options.warn(`traces: ${plural(lost, 'span')} not sent to ${placeOf(url)}: ${why}; nothing else depends on it`);
  };
  let waiting = 0;
  const inner = new OTLPTraceExporter({ url, ...(hasTimeout(env) ? {} : { timeoutMillis: FLUSH_MS }) });
  const exporter: SpanExporter = {
    export: (spans, done) => {
      waiting += spans.length;
      inner.export(spans, (result) => {
        waiting -= spans.length;
        if (result.code !== ExportResultCode.SUCCESS) {
          lost += spans.length;
          why = reasonOf(result.error);
          if (options.warnAtOnce) say();
        }
        done(result);
      });
    },
    forceFlush: () => inner.forceFlush(),
    shutdown: () => inner.shutdown(),
  };
  const provider = new TracerProvider({
    resource: defaultResource()
      .merge(resourceFromAttributes({ 'service.name': 'sallyport', 'service.version': version }))
      .merge(detectResources({ detectors: [envDetector] })),
    spanProcessors: [new BatchSpanProcessor({ exporter, maxQueueSize: MOST_WAITING })],
  });
  const tracer = provider.getTracer('sallyport', version);
  const contexts = new WeakMap<OpenSpan, Context>();
  const begin = (name: string, attributes: Attributes, parent: Context, links: Link[]): OpenSpan => {
    const kind = attributes['http.request.method'] === undefined ? SpanKind.INTERNAL : SpanKind.CLIENT;
    const span = tracer.startSpan(cleanText(name), { kind, attributes: clean(attributes), links }, parent);
    const fail = (code: string): void => {
      span.setAttribute('error.type', cleanText(code)).setStatus({ code: SpanStatusCode.ERROR });
    };
    const opened: OpenSpan = {
      set: (more) => void span.setAttributes(clean(more)),
      fail,
      end: (error) => {
        // The code alone: a message holds what the cluster or a server said.
        if (error !== undefined) fail(isFailure(error.thrown) ? error.thrown.detail.code : 'bug');
        span.end();
      },
    };
    contexts.set(opened, trace.setSpan(ROOT_CONTEXT, span));
    return opened;
  };
  const { command } = options;
  const first = begin(`sallyport ${command}`, { 'sallyport.command': command }, callerOf(env), []);
  installTracer({
    begin: (name, attributes, parent = first) => {
      const around = contexts.get(parent) ?? ROOT_CONTEXT;
      const linked = trace.getSpanContext(around);
      if (parent !== first || !options.isLong || linked === undefined) return begin(name, attributes, around, []);
      return begin(name, attributes, ROOT_CONTEXT, [{ context: linked }]);
    },
  });
  return {
    command: (work) => within(first, work),
    async end(exit, code) {
      first.set({ 'sallyport.exit_code': exit });
      if (exit !== 0) first.fail(code ?? `exit ${exit}`);
      first.end();
      installTracer(undefined);
      let timer: NodeJS.Timeout | undefined;
      const late = new Promise<boolean>((resolve) => {
        timer = setTimeout(() => resolve(false), FLUSH_MS);
      });
      // What could not be sent was counted where it was not.
      const settled = (): boolean => true;
      const isSettled = await Promise.race([provider.shutdown().then(settled, settled), late]);
      clearTimeout(timer);
      if (!isSettled) {
        lost += waiting;
        why = `no answer in ${FLUSH_MS / 1000} s`;
      }
      say();
      return isSettled;
    },
  };
}

/** The span of whoever called, such as a CI pipeline's job; what is no traceparent is passed over, as the W3C has it. */
function callerOf(env: TracingOptions['env']): Context {
  const carrier: TextMapGetter<TracingOptions['env']> = {
    keys: (variables) => Object.keys(variables),
    get: (variables, key) => variables[key.toUpperCase()],
  };
  return new W3CTraceContextPropagator().extract(ROOT_CONTEXT, env, carrier);
}

function hasTimeout(env: TracingOptions['env']): boolean {
  return ['OTEL_EXPORTER_OTLP_TRACES_TIMEOUT', 'OTEL_EXPORTER_OTLP_TIMEOUT'].some((name) => (env[name] ?? '') !== '');
}

function clean(attributes: Attributes): Record<string, string | number | boolean> {
  const cleaned: Record<string, string | number | boolean> = {};
  for (const [key, value] of Object.entries(attributes))
    if (value !== undefined) cleaned[key] = typeof value === 'string' ? cleanText(value) : value;
  return cleaned;
}

function cleanText(text: string): string {
  return safeText(text.length > LONGEST ? `${text.slice(0, LONGEST)}…` : text);
}

/** Without what an address may hold behind its path. */
function placeOf(url: string): string {
  const { origin, pathname } = new URL(url);
  return safeText(`${origin}${pathname}`);
}

/** What a server answered stays out: `ECONNREFUSED`, `503`, or the first words of the library. */
function reasonOf(error: Error | undefined): string {
  if (error === undefined) return 'it was not taken';
  const code = (error as { readonly code?: unknown }).code;
  if (typeof code === 'number') return `it answered ${code}`;
  if (typeof code === 'string') return safeText(code);
  return safeText(messageOf(error)).slice(0, LONGEST_WHY);
}
