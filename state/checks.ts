import type { Failure } from '../src/shared/pure/errors.ts';
import { messageOf } from '../src/shared/pure/errors.ts';
import type { Json } from '../src/shared/pure/json.ts';
import { safeText } from '../src/shared/pure/text.ts';
import { STATE_CODE, stateFailure } from './failure.ts';

/** The row that is being read; named in the failure when it does not parse. */
export interface Place {
  readonly file: string;
  readonly table: string;
  readonly row: string | number;
}

/** Narrows what a row holds, or throws a Failure (exit 5) that names table, row and field. */
export type Check<T> = (value: unknown, place: Place, path: string) => T;

export function badRow(place: Place, path: string, problem: string): Failure {
  return stateFailure(
    STATE_CODE.badRow,
    place.file,
    `table ${place.table}, row ${safeText(String(place.row))}, ${safeText(path)}: ${safeText(problem)}`,
    'the row was not written by this version of Sallyport: keep the file as it is and use a copy from before, or the version that wrote it',
  );
}

export const text: Check<string> = (value, place, path) => {
  if (typeof value !== 'string') throw badRow(place, path, 'text expected');
  return value;
};

export const number: Check<number> = (value, place, path) => {
  if (typeof value !== 'number' || !Number.isFinite(value)) throw badRow(place, path, 'a number expected');
  return value;
};

export const boolean: Check<boolean> = (value, place, path) => {
  if (typeof value !== 'boolean') throw badRow(place, path, 'true or false expected');
  return value;
};

export function oneOf<const T extends string>(values: readonly T[]): Check<T> {
  return (value, place, path) => {
    const found = values.find((one) => one === value);
    if (found === undefined) throw badRow(place, path, `one of ${values.join(', ')} expected`);
    return found;
  };
}

export function list<T>(item: Check<T>): Check<readonly T[]> {
  return (value, place, path) => {
    if (!Array.isArray(value)) throw badRow(place, path, 'a list expected');
    return value.map((one, index) => item(one, place, `${path}[${index}]`));
  };
}

type OptionalKey<T> = { [K in keyof T]-?: object extends Pick<T, K> ? K : never }[keyof T];
type RequiredKey<T> = Exclude<keyof T, OptionalKey<T>>;

/**
 * An object of exactly these fields. Type parameters make a field that the type gained and the check lacks a compile error;
 * a field that the row has and the check lacks is a failure, because dropping it could lose what an undo needs.
 */
export function object<T extends object>(
  required: { readonly [K in RequiredKey<T>]: Check<T[K]> },
  optional: { readonly [K in OptionalKey<T>]-?: Check<Exclude<T[K], undefined>> },
): Check<T> {
  const needed = Object.entries<Check<unknown>>(required as Readonly<Record<string, Check<unknown>>>);
  const allowed = Object.entries<Check<unknown>>(optional as Readonly<Record<string, Check<unknown>>>);
  const known = new Set([...needed, ...allowed].map(([key]) => key));
  return (value, place, path) => {
    const raw = plainObject(value, place, path);
    const out: Record<string, unknown> = {};
    for (const [key, check] of needed) out[key] = check(raw[key], place, `${path}.${key}`);
    for (const [key, check] of allowed) if (raw[key] !== undefined) out[key] = check(raw[key], place, `${path}.${key}`);
    for (const key of Object.keys(raw)) if (!known.has(key)) throw badRow(place, `${path}.${key}`, 'unknown field');
    return out as T;
  };
}

export function plainObject(value: unknown, place: Place, path: string): Readonly<Record<string, unknown>> {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw badRow(place, path, 'an object expected');
  return value as Readonly<Record<string, unknown>>;
}

/** A value that came out of JSON.parse, so it is JSON. */
export const json: Check<Json> = (value, place, path) => {
  if (value === undefined) throw badRow(place, path, 'a value expected');
  return value as Json;
};

/** A column that holds JSON text. */
export function jsonColumn<T>(check: Check<T>): Check<T> {
  return (value, place, path) => {
    let parsed: unknown;
    try {
      parsed = JSON.parse(text(value, place, path));
    } catch (error) {
      throw error instanceof SyntaxError ? badRow(place, path, `not JSON: ${messageOf(error)}`) : error;
    }
    return check(parsed, place, path);
  };
}

/** A column that may be NULL. */
export function nullable<T>(check: Check<T>): Check<T | undefined> {
  return (value, place, path) => (value === null ? undefined : check(value, place, path));
}
