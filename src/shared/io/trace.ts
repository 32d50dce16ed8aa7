import { AsyncLocalStorage } from 'node:async_hooks';

/** What a span says: names, numbers and answers. Never values of Secrets or of labels, nor what a person typed as a reason. */
export type Attributes = Readonly<Record<string, string | number | boolean | undefined>>;

/** A piece of work while it goes on. */
export interface Span {
  set(attributes: Attributes): void;
  /** It came out badly, by this code. */
  fail(code: string): void;
}

export interface OpenSpan extends Span {
  /** `error`: what the work threw, if it did. */
  end(error?: { readonly thrown: unknown }): void;
}

/** Takes down what is done, how long it takes, and inside of what. */
export interface Tracer {
  begin(name: string, attributes: Attributes, parent: OpenSpan | undefined): OpenSpan;
}

const SILENT: Span = { set: () => undefined, fail: () => undefined };

let installed: Tracer | undefined;
const current = new AsyncLocalStorage<OpenSpan>();

/** One tracer for the process, as a collector sees it; undefined ends it. Without one `traced` costs a comparison. */
export function installTracer(tracer: Tracer | undefined): void {
  installed = tracer;
}

/** Does `work` with this span as the one under way, and leaves it open. */
export function within<T>(span: OpenSpan, work: () => Promise<T>): Promise<T> {
  return current.run(span, work);
}

/** Does `work` as a span inside of the one that is under way where it is called. Comes out as the work does. */
export async function traced<T>(
  name: string,
  attributes: () => Attributes,
  work: (span: Span) => Promise<T>,
): Promise<T> {
  if (installed === undefined) return work(SILENT);
  const span = installed.begin(name, attributes(), current.getStore());
  let result: T;
  try {
    result = await within(span, () => work(span));
  } catch (thrown) {
    span.end({ thrown });
    throw thrown;
  }
  span.end();
  return result;
}
