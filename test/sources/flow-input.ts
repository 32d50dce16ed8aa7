import type { Flow } from '../../src/model/flow.ts';
import type { InputReport } from '../../src/model/flow.ts';
import { isFailure } from '../../src/shared/pure/errors.ts';
import type { FailureDetail } from '../../src/shared/pure/errors.ts';
import type { FlowInput, FlowSource } from '../../src/sources/flow-source.ts';

/** Bytes in chunks of `size`, so that lines break anywhere. */
export function input(content: string | Uint8Array, name = 'flows.jsonl', size = 64): FlowInput {
  const bytes = typeof content === 'string' ? Buffer.from(content) : content;
  return {
    name,
    async *open() {
      for (let at = 0; at < bytes.byteLength; at += size) yield await Promise.resolve(bytes.subarray(at, at + size));
    },
  };
}

export interface Read {
  readonly flows: readonly Flow[];
  readonly names: readonly (readonly [string, string])[];
  readonly report: InputReport;
}

export async function readAll(
  source: FlowSource,
  from: FlowInput,
  badRecords: 'abort' | 'skip' = 'abort',
): Promise<Read> {
  const flows: Flow[] = [];
  const names: [string, string][] = [];
  const report = await source.read(
    from,
    { flow: (flow) => flows.push(flow), name: (ip, name) => names.push([ip, name]) },
    { badRecords },
  );
  return { flows, names, report };
}

/** What a Failure said; anything else that is thrown, or nothing, fails the test. */
export async function failureOf(work: Promise<unknown>): Promise<FailureDetail> {
  try {
    await work;
  } catch (error) {
    if (isFailure(error)) return error.detail;
    throw error;
  }
  throw new Error('it did not fail');
}
