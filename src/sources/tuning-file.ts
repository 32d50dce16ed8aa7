import { readFile, stat } from 'node:fs/promises';
import { z } from 'zod';
import { TUNED_CONTROLS } from '../model/tuning.ts';
import type { TuningMetrics } from '../model/tuning.ts';
import { errorCodeOf } from '../shared/io/files.ts';
import { EXIT, Failure, messageOf } from '../shared/pure/errors.ts';
import { describeIssues } from '../shared/pure/issues.ts';
import { safeText } from '../shared/pure/text.ts';

const MOST_BYTES = 64 * 1024 * 1024;
const amount = z.number().nonnegative();
const share = z.number().min(0).max(1);
const percentiles = z.strictObject({ mean: amount, p50: amount, p95: amount, p99: amount }).partial();
const moment = z.iso.datetime({ offset: true }).transform((value) => new Date(value).getTime());
const workload = z.string().regex(/^[^/]+\/[^/]+\/[^/]+$/u, 'a workload is namespace/Kind/name');

const schema = z.strictObject({
  apiVersion: z.literal('sallyport.dev/v1'),
  kind: z.literal('TuningMetrics'),
  window: z
    .strictObject({ from: moment, to: moment })
    .refine((one) => one.from < one.to, { message: 'a window ends after it begins' }),
  source: z.string().min(1),
  controls: z
    .array(
      z.strictObject({
        control: z.enum(TUNED_CONTROLS),
        namespace: z.string().min(1),
        added: percentiles.optional(),
        with: percentiles.optional(),
        without: percentiles.optional(),
        perConnection: z.boolean().optional(),
        metric: z.string().min(1),
      }),
    )
    .default([]),
  services: z
    .array(
      z.strictObject({
        namespace: z.string().min(1),
        service: z.string().min(1),
        port: z.int().min(1).max(65_535).optional(),
        requestsPerSec: amount.optional(),
        connectionsPerSec: amount.optional(),
        handshakesPerSec: amount.optional(),
        resumedPerSec: amount.optional(),
        http1Share: share.optional(),
        peakConnections: amount.optional(),
        peakRequests: amount.optional(),
        clients: amount.optional(),
        latency: percentiles.optional(),
        connect: percentiles.optional(),
        requestBytes: amount.optional(),
      }),
    )
    .default([]),
  proxies: z
    .array(
      z.strictObject({
        workload,
        proxies: amount.optional(),
        requestsPerSec: amount.optional(),
        cpuCores: amount.optional(),
        cpuPeakCores: amount.optional(),
        cpuRequest: amount.optional(),
        cpuLimit: amount.optional(),
        memoryBytes: amount.optional(),
        memoryRequest: amount.optional(),
        memoryLimit: amount.optional(),
        throttledShare: share.optional(),
        clusters: amount.optional(),
      }),
    )
    .default([]),
  authorizers: z
    .array(
      z.strictObject({
        workload,
        checksPerSec: amount.optional(),
        latency: percentiles.optional(),
        distinctKeys: amount.optional(),
      }),
    )
    .default([]),
  missing: z.array(z.string()).default([]),
});

function refused(file: string, message: string, cause?: unknown): Failure {
  return new Failure({
    code: 'SP112',
    exit: EXIT.usage,
    message: `the measurements cannot be read: ${message}`,
    where: file,
    hint: 'docs/tuning.md has the fields; sallyport tune NAMESPACE --prometheus URL --save FILE writes such a file',
    cause,
  });
}

/** Reads measurements from a file of JSON, as docs/tuning.md describes it. SP112, exit 2, with every field that is not as it should be. */
export async function readTuningFile(file: string): Promise<TuningMetrics> {
  let value: unknown;
  try {
    const { size } = await stat(file);
    if (size > MOST_BYTES) throw refused(file, `it has ${size} bytes, and ${MOST_BYTES} are read at most`);
    value = JSON.parse(await readFile(file, 'utf8')) as unknown;
  } catch (error) {
    if (error instanceof Failure) throw error;
    if (errorCodeOf(error) === 'ENOENT') throw refused(file, 'it does not exist', error);
    if (error instanceof SyntaxError) throw refused(file, `it is not JSON: ${safeText(error.message)}`, error);
    throw refused(file, safeText(messageOf(error)), error);
  }
  const parsed = schema.safeParse(value);
  if (!parsed.success) throw refused(file, safeText(describeIssues(parsed.error.issues.slice(0, 20))), parsed.error);
  const { window, source, controls, services, proxies, authorizers, missing } = parsed.data;
  // Absent stays absent: a figure that is undefined would count as one that is there.
  return JSON.parse(
    JSON.stringify({ window, source, controls, services, proxies, authorizers, missing }),
  ) as TuningMetrics;
}

/** The same as a document: what `readTuningFile` reads back. */
export function tuningDocument(metrics: TuningMetrics): object {
  const iso = (time: number): string => new Date(time).toISOString();
  return {
    apiVersion: 'sallyport.dev/v1',
    kind: 'TuningMetrics',
    ...metrics,
    window: { from: iso(metrics.window.from), to: iso(metrics.window.to) },
  };
}
