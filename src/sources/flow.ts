import type { Flow } from '../model/flow.ts';

type Needed = 'first' | 'src' | 'dst' | 'port' | 'source';

/** A flow with the values that most records have: one new TCP connection, allowed, its opener known. */
export function flowOf(parts: Pick<Flow, Needed> & Partial<Omit<Flow, Needed>>): Flow {
  return {
    last: parts.first,
    protocol: 'TCP',
    verdict: 'allowed',
    view: 'unknown',
    tap: parts.source,
    initiatorKnown: true,
    reply: false,
    stage: 'open',
    count: 1,
    proxied: false,
    mtls: 'unknown',
    ...parts,
  };
}
