import { EXIT, Failure } from '../shared/pure/errors.ts';

const MOMENT = /^\d{4}-\d\d-\d\d(?:[Tt ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:[Zz]|[+-]\d\d:\d\d)?)?$/;

/** The moment that `--now` names, in milliseconds since the epoch. Exit 2 for anything but a date or a time of ISO 8601. */
export function parseMoment(text: string, flag = '--now'): number {
  const time = MOMENT.test(text) ? Date.parse(text) : NaN;
  if (!Number.isNaN(time)) return time;
  throw new Failure({
    code: 'SP213',
    exit: EXIT.usage,
    message: `${flag} ${text} is not a time`,
    where: flag,
    hint: 'give it as 2026-10-14 or 2026-10-14T08:00:00Z',
  });
}
