/**
 * What records fold into: a row for each pair of ends, port, meaning and day. A row lies in 40 bytes, so that to find and to count it
 * touches one piece of a core's cache or two: first and last time, then source, destination, port, meaning, day and records.
 */
export interface Rows {
  readonly count: number;
  /**
   * Counts one record, its time in milliseconds. `exact`: it is folded with records of the very same time alone.
   */
  add(src: number, dst: number, port: number, meaning: number, time: number, exact: boolean): void;
  /** The rows since the last time, for readRows. */
  take(): ArrayBuffer;
}

/**
 * Rows are to be taken once there are more. The table holds twice as many, as the rest of a batch comes before that: 16 MiB at most behind
 * a line as long as may be, of records of 150 bytes at least.
 */
export const MAX_ROWS = 120_000;

const ROW_BYTES = 40;
const TIMES = ROW_BYTES / 8;
const NUMBERS = ROW_BYTES / 4;
const [SRC, DST, PORT, MEANING, DAY, RECORDS] = [4, 5, 6, 7, 8, 9];
const DAY_MS = 86_400_000;
const TABLE = 1 << 18;
const EMPTY = 0;
/** Records that wait to be counted, so that a core looks up several rows at once while memory answers: half the time otherwise. */
const WAITING = 512;

export function createRows(): Rows {
  /** One more than the row's number. */
  const slots = new Int32Array(TABLE);
  let times = new Float64Array(TIMES * 4096);
  let numbers = new Int32Array(times.buffer);
  let count = 0;
  const waitingTimes = new Float64Array(WAITING);
  const waitingNumbers = new Int32Array(WAITING * 4);
  let waiting = 0;
  const grow = (): void => {
    const larger = new Float64Array(times.length * 2);
    larger.set(times);
    times = larger;
    numbers = new Int32Array(larger.buffer);
  };
  const addOne = (src: number, dst: number, port: number, kind: number, time: number): void => {
    const day = Math.floor(time / DAY_MS);
    const meaning = kind >> 1;
    const exact = (kind & 1) === 1;
    let hash = Math.imul(src, 0x9e3779b1) ^ Math.imul(dst, 0x85ebca6b) ^ Math.imul(port | (meaning << 16), 0xc2b2ae35);
    hash ^= Math.imul(day, 0x27d4eb2f);
    if (exact) hash ^= Math.imul(time | 0, 0x165667b1);
    let slot = (hash ^ (hash >>> 15)) & (TABLE - 1);
    for (let row = slots[slot] ?? EMPTY; row !== EMPTY; row = slots[slot] ?? EMPTY) {
      const at = (row - 1) * NUMBERS;
      if (
        numbers[at + SRC] === src &&
        numbers[at + DST] === dst &&
        numbers[at + PORT] === port &&
        numbers[at + MEANING] === meaning &&
        numbers[at + DAY] === day
      ) {
        const place = (row - 1) * TIMES;
        const first = times[place] ?? 0;
        if (!exact || first === time) {
          if (time < first) times[place] = time;
          if (time > (times[place + 1] ?? 0)) times[place + 1] = time;
          numbers[at + RECORDS] = (numbers[at + RECORDS] ?? 0) + 1;
          return;
        }
      }
      slot = (slot + 1) & (TABLE - 1);
    }
    if (count + 1 >= TABLE) throw new Error('more rows than their table holds');
    if ((count + 1) * TIMES > times.length) grow();
    times[count * TIMES] = time;
    times[count * TIMES + 1] = time;
    const at = count * NUMBERS;
    numbers[at + SRC] = src;
    numbers[at + DST] = dst;
    numbers[at + PORT] = port;
    numbers[at + MEANING] = meaning;
    numbers[at + DAY] = day;
    numbers[at + RECORDS] = 1;
    count += 1;
    slots[slot] = count;
  };
  const addWaiting = (): void => {
    for (let index = 0; index < waiting; index += 1) {
      const at = index * 4;
      addOne(
        waitingNumbers[at] ?? 0,
        waitingNumbers[at + 1] ?? 0,
        waitingNumbers[at + 2] ?? 0,
        waitingNumbers[at + 3] ?? 0,
        waitingTimes[index] ?? 0,
      );
    }
    waiting = 0;
  };
  return {
    get count() {
      addWaiting();
      return count;
    },
    add(src, dst, port, meaning, time, exact) {
      if (waiting === WAITING) addWaiting();
      const at = waiting * 4;
      waitingNumbers[at] = src;
      waitingNumbers[at + 1] = dst;
      waitingNumbers[at + 2] = port;
      waitingNumbers[at + 3] = meaning * 2 + (exact ? 1 : 0);
      waitingTimes[waiting] = time;
      waiting += 1;
    },
    take() {
      addWaiting();
      const taken = times.buffer.slice(0, count * ROW_BYTES);
      count = 0;
      slots.fill(EMPTY);
      return taken;
    },
  };
}

export function rowCount(rows: ArrayBuffer): number {
  return rows.byteLength / ROW_BYTES;
}

/** Up to `most` rows from row `from`, one after the other. Returns the row behind them. */
export function readRows(
  rows: ArrayBuffer,
  from: number,
  most: number,
  each: (src: number, dst: number, port: number, meaning: number, first: number, last: number, records: number) => void,
): number {
  const times = new Float64Array(rows);
  const numbers = new Int32Array(rows);
  const end = Math.min(rowCount(rows), from + most);
  for (let row = from; row < end; row += 1) {
    const at = row * NUMBERS;
    each(
      numbers[at + SRC] ?? 0,
      numbers[at + DST] ?? 0,
      numbers[at + PORT] ?? 0,
      numbers[at + MEANING] ?? 0,
      times[row * TIMES] ?? 0,
      times[row * TIMES + 1] ?? 0,
      numbers[at + RECORDS] ?? 0,
    );
  }
  return end;
}
