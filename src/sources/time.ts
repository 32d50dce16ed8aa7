const ISO = /^(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.(\d+))?(?:[Zz]|([+-])(\d\d):(\d\d))$/;

/** RFC 3339 text as milliseconds since the epoch; undefined for anything else. Digits beyond the millisecond are cut off. */
export function parseTime(text: string): number | undefined {
  const match = ISO.exec(text);
  if (match === null) return undefined;
  const [, year, month, day, hour, minute, second, fraction = '', sign, offsetHour = '0', offsetMinute = '0'] = match;
  const millisecond = Number(`${fraction}000`.slice(0, 3));
  const time = Date.UTC(
    Number(year),
    Number(month) - 1,
    Number(day),
    Number(hour),
    Number(minute),
    Number(second),
    millisecond,
  );
  // A month of 13 or a day of 31 February rolls over in Date.UTC: such text is no time.
  const check = new Date(time);
  const rolled = check.getUTCMonth() !== Number(month) - 1 || check.getUTCDate() !== Number(day);
  if (rolled || Number(hour) > 23 || Number(minute) > 59 || Number(second) > 60) return undefined;
  const offset = (Number(offsetHour) * 60 + Number(offsetMinute)) * 60_000;
  return time - (sign === '-' ? -offset : offset);
}

/** parseTime with the last minute remembered: records come in order, so most of the work repeats. */
export function createTimeParser(): (text: string) => number | undefined {
  let prefix = '';
  let base = 0;
  return (text) => {
    // `2026-10-05T12:34:56.789Z`: 17 characters of minute, then seconds, then digits and a Z.
    const length = text.length;
    if (length < 20 || text.charCodeAt(length - 1) !== 90) return parseTime(text);
    if (prefix === '' || !text.startsWith(prefix)) {
      const time = parseTime(`${text.slice(0, 17)}00Z`);
      if (time === undefined) return undefined;
      prefix = text.slice(0, 17);
      base = time;
    }
    const tens = text.charCodeAt(17) - 48;
    const ones = text.charCodeAt(18) - 48;
    if (tens < 0 || tens > 5 || ones < 0 || ones > 9) return parseTime(text);
    if (length === 20) return base + (tens * 10 + ones) * 1000;
    if (text.charCodeAt(19) !== 46) return undefined;
    let millisecond = 0;
    let scale = 100;
    for (let at = 20; at < length - 1; at += 1) {
      const digit = text.charCodeAt(at) - 48;
      if (digit < 0 || digit > 9) return undefined;
      if (scale >= 1) millisecond += digit * scale;
      scale /= 10;
    }
    return length === 21 ? undefined : base + (tens * 10 + ones) * 1000 + Math.floor(millisecond);
  };
}
