import type { FindingCode } from '../model/finding-catalogue.ts';
import type { RecordedGrant } from '../readiness/recorded-grants.ts';
import { recordedGrants } from '../readiness/recorded-grants.ts';
import { safeText } from '../shared/pure/text.ts';
import type { Reader } from '../../state/reader.ts';

/** A finding among other text. */
export function coded(code: FindingCode, text: string): string {
  return `(${code}) ${text}`;
}

type Listed = Pick<RecordedGrant, 'id' | 'kind' | 'text' | 'reason' | 'since' | 'until' | 'by' | 'objects' | 'pods'>;

/** As lists and documents have it. */
export function grantDocument(grant: Listed, now: number): object {
  return {
    id: grant.id,
    kind: grant.kind,
    what: grant.text,
    reason: grant.reason,
    by: grant.by,
    since: new Date(grant.since).toISOString(),
    until: new Date(grant.until).toISOString(),
    state: grant.until <= now ? 'expired' : 'open',
    objects: grant.objects,
    ...(grant.pods === undefined ? {} : { pods: grant.pods }),
  };
}

/** Grants on record, oldest first. */
export function readGrants(reader: Pick<Reader, 'granted' | 'headOf'>): readonly RecordedGrant[] {
  return recordedGrants(reader.granted(), (id) => reader.headOf(id));
}

/** One grant for people; `now` in ms since the epoch. */
export function grantLines(one: RecordedGrant, now: number): readonly string[] {
  const until = new Date(one.until).toISOString();
  return [
    safeText(
      `${one.id} ${one.kind}: ${one.text}; ${one.until <= now ? coded('SP380', `over since ${until}, and not taken away yet: sallyport grant expire`) : `until ${until}`}`,
    ),
    safeText(`    by ${one.by}: ${one.reason}`),
    ...(one.pods === undefined || one.pods.length === 0
      ? []
      : [
          safeText(
            `    ${coded('SP384', `its end closes no session: one that is open in ${one.pods.join(', ')} goes on`)}`,
          ),
        ]),
  ];
}
