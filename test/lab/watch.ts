// Reads what the pods write while they write it.
import { closeSync, existsSync, fstatSync, openSync, readSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Ledger } from './ledger.ts';
import { parseAttempts } from './ledger.ts';

export interface Watch {
  /** Takes in what every log has gained. Returns how many attempts were counted. */
  collect(): number;
}

/** Follows `<folder>/<namespace>/<pod>/<container>.log`, the proxies' own left out. */
export function watchPods(folder: string, ledger: Ledger, skip: readonly string[] = []): Watch {
  const read = new Map<string, { offset: number; rest: string }>();
  return {
    collect: () => {
      let counted = 0;
      for (const namespace of list(folder)) {
        if (skip.includes(namespace)) continue;
        for (const pod of list(join(folder, namespace)))
          for (const log of list(join(folder, namespace, pod))) {
            if (!log.endsWith('.log') || log.startsWith('istio-')) continue;
            const file = join(folder, namespace, pod, log);
            const known = read.get(file) ?? { offset: 0, rest: '' };
            const gained = readFrom(file, known.offset);
            if (gained.length === 0) continue;
            const text = known.rest + gained.toString('utf8');
            const end = text.lastIndexOf('\n') + 1;
            read.set(file, { offset: known.offset + gained.length, rest: text.slice(end) });
            for (const attempt of parseAttempts(text.slice(0, end))) {
              ledger.add(namespace, pod, attempt);
              counted += 1;
            }
          }
      }
      return counted;
    },
  };
}

function list(folder: string): readonly string[] {
  return existsSync(folder) ? readdirSync(folder).sort() : [];
}

function readFrom(file: string, offset: number): Buffer {
  const descriptor = openSync(file, 'r');
  try {
    const size = fstatSync(descriptor).size - offset;
    if (size <= 0) return Buffer.alloc(0);
    const buffer = Buffer.alloc(size);
    return buffer.subarray(0, readSync(descriptor, buffer, 0, size, offset));
  } finally {
    closeSync(descriptor);
  }
}
