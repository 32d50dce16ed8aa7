import type { AddressHistory, AddressHold, Holder, HoldSource, Watched } from '../src/model/address-hold.ts';
import { holdKey, mergeHold } from '../src/model/address-hold.ts';
import type { Check, Place } from './checks.ts';
import { badRow, jsonColumn, list, number, object, oneOf, plainObject, text } from './checks.ts';
import type { Handle } from './handle.ts';
import { read } from './handle.ts';
import type { Row } from './rows.ts';
import { column } from './rows.ts';

const SOURCES: readonly HoldSource[] = ['watch', 'snapshot', 'endpoints', 'records'];

const labels: Check<Readonly<Record<string, string>>> = (value, place, path) => {
  const raw = plainObject(value, place, path);
  for (const [key, one] of Object.entries(raw))
    if (typeof one !== 'string') throw badRow(place, `${path}.${key}`, 'text expected');
  return raw as Readonly<Record<string, string>>;
};

const holder = object<Holder>(
  { namespace: text, pod: text, labels },
  { uid: text, owner: object({ kind: text, name: text }, {}), serviceAccount: text, node: text },
);

function parseHold(row: Row, file: string): AddressHold {
  const place: Place = { file, table: 'addresses', row: String(row['ip']) };
  return {
    ip: column(row, 'ip', text, place),
    holder: column(row, 'data', jsonColumn(holder), place),
    from: column(row, 'first', number, place),
    to: column(row, 'last', number, place),
    ended: column(row, 'ended', number, place) === 1,
    ...(column(row, 'ended', number, place) === 2 ? { lost: true } : {}),
    by: column(row, 'sources', jsonColumn(list(oneOf(SOURCES))), place),
  };
}

/** Looked up address by address when asked, since there may be millions; the windows at once. */
export function readAddressHistory(handle: Handle): AddressHistory {
  const { db, file } = handle;
  const attempt = 'reading the history of an address';
  return {
    holdsOf: (ip) =>
      read(handle, attempt, () =>
        db
          .prepare<[string], Row>('SELECT * FROM addresses WHERE ip = ? ORDER BY holder')
          .all(ip)
          .map((row) => parseHold(row, file)),
      ),
    watched: read(handle, attempt, () =>
      db
        .prepare<[], Row>('SELECT first, last FROM address_watches ORDER BY first')
        .all()
        .map((row): Watched => {
          const place: Place = { file, table: 'address_watches', row: String(row['first']) };
          return { from: column(row, 'first', number, place), to: column(row, 'last', number, place) };
        }),
    ),
  };
}

/** Adds to what is on record, inside a transaction of the caller's. The order in which accounts arrive does not matter. */
export function recordAddresses(
  { db, file }: Handle,
  holds: Iterable<AddressHold>,
  watched: Iterable<Watched>,
): { readonly added: number } {
  const find = db.prepare<[string, string], Row>('SELECT * FROM addresses WHERE ip = ? AND holder = ?');
  const put = db.prepare(
    `INSERT INTO addresses (ip, holder, first, last, ended, sources, data) VALUES (?, ?, ?, ?, ?, ?, ?)
     ON CONFLICT (ip, holder) DO UPDATE SET first = excluded.first, last = excluded.last, ended = excluded.ended,
       sources = excluded.sources, data = excluded.data`,
  );
  let added = 0;
  for (const hold of holds) {
    const key = holdKey(hold);
    const row = find.get(hold.ip, key);
    if (row === undefined) added += 1;
    const merged = row === undefined ? hold : mergeHold(parseHold(row, file), hold);
    put.run(
      hold.ip,
      key,
      merged.from,
      merged.to,
      merged.ended ? 1 : merged.lost === true ? 2 : 0,
      JSON.stringify(merged.by),
      JSON.stringify(merged.holder),
    );
  }
  const window = db.prepare(
    'INSERT INTO address_watches (first, last) VALUES (?, ?) ON CONFLICT (first) DO UPDATE SET last = max(last, excluded.last)',
  );
  for (const { from, to } of watched) window.run(from, to);
  return { added };
}

/**
 * Lets go of pods that held their address until before `before`, inside a transaction of the caller's. A pod that was not seen to go lasts to the
 * end of the watch in which it was seen, and stays as long as that.
 */
export function forgetAddresses({ db }: Handle, before: number): number {
  const { changes } = db
    .prepare(
      `DELETE FROM addresses WHERE last < ? AND (ended <> 0 OR NOT EXISTS
       (SELECT 1 FROM address_watches w WHERE w.first <= addresses.last AND w.last >= ?))`,
    )
    .run(before, before);
  db.prepare('DELETE FROM address_watches WHERE last < ?').run(before);
  return changes;
}
