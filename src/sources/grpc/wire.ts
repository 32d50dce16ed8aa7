// Protocol buffers, as much of them as a client of a few messages needs (protobuf.dev/programming-guides/encoding).

/** What a field holds. A list is a repeated one. Enums with names become them, others stay numbers. */
export type FieldType =
  | 'string'
  | 'number'
  | 'bool'
  /** google.protobuf.Timestamp, as RFC 3339. */
  | 'time'
  /** google.protobuf.BoolValue: absent is unknown. */
  | 'bool-value'
  | Message
  | { readonly names: Readonly<Record<number, string>> }
  | { readonly list: 'string' | Message };

/** The fields of a message that are read, by number: name and type. All others are passed over. */
export interface Message {
  readonly fields: Readonly<Record<number, readonly [name: string, type: FieldType]>>;
}

export type Decoded = Readonly<Record<string, unknown>>;

/** A message as an object. Zero values that the sender left out are left out. Throws an Error for bytes that are none. */
export function decodeMessage(bytes: Uint8Array, message: Message): Decoded {
  const out: Record<string, unknown> = {};
  for (const [number, value] of readFields(bytes)) {
    const field = message.fields[number];
    if (field === undefined) continue;
    const [name, type] = field;
    if (typeof type === 'object' && 'list' in type) {
      const list = (out[name] ??= []) as unknown[];
      list.push(decodeValue(value, type.list));
    } else out[name] = decodeValue(value, type);
  }
  return out;
}

/** Fields in their order: a varint or eight or four bytes as a number, anything else as bytes. */
export function* readFields(bytes: Uint8Array): Generator<readonly [number: number, value: bigint | Uint8Array]> {
  const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = 0;
  const varint = (): bigint => {
    let small = 0;
    let scale = 1;
    for (let count = 0; count < 10; count += 1) {
      const byte = view[at];
      if (byte === undefined) throw new Error('the message breaks off');
      at += 1;
      // Six groups of seven bits are exact in a double.
      if (count < 6) {
        small += (byte & 127) * scale;
        scale *= 128;
        if (byte < 128) return BigInt(small);
      } else {
        let large = BigInt(small) | (BigInt(byte & 127) << BigInt(7 * count));
        if (byte < 128) return large;
        for (let more = count + 1; more < 10; more += 1) {
          const next = view[at];
          if (next === undefined) throw new Error('the message breaks off');
          at += 1;
          large |= BigInt(next & 127) << BigInt(7 * more);
          if (next < 128) return BigInt.asUintN(64, large);
        }
        break;
      }
    }
    throw new Error('a number of more than ten bytes');
  };
  const take = (length: number): Uint8Array => {
    if (length > view.length - at) throw new Error('the message breaks off');
    at += length;
    return view.subarray(at - length, at);
  };
  while (at < view.length) {
    const tag = Number(varint());
    const number = Math.floor(tag / 8);
    switch (tag % 8) {
      case 0:
        yield [number, varint()];
        break;
      case 1:
        yield [number, Buffer.from(take(8)).readBigUInt64LE()];
        break;
      case 2:
        yield [number, take(Number(varint()))];
        break;
      case 5:
        yield [number, BigInt(Buffer.from(take(4)).readUInt32LE())];
        break;
      default:
        throw new Error(`a field of the unknown wire type ${tag % 8}`);
    }
  }
}

function decodeValue(value: bigint | Uint8Array, type: FieldType): unknown {
  if (typeof value === 'bigint') {
    if (type === 'bool') return value !== 0n;
    if (type === 'number') return safeNumber(value);
    if (typeof type === 'object' && 'names' in type) return type.names[Number(value)] ?? Number(value);
    throw new Error('a number where something else belongs');
  }
  if (type === 'string') return Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('utf8');
  if (type === 'time') return timeText(timestampOf(value));
  if (type === 'bool-value') return [...readFields(value)].some(([number, one]) => number === 1 && one === 1n);
  if (typeof type === 'object' && 'fields' in type) return decodeMessage(value, type);
  throw new Error('bytes where something else belongs');
}

/** Signed 64 bits; what a double does not hold becomes text, as in the JSON of protocol buffers. */
function safeNumber(value: bigint): number | string {
  const signed = BigInt.asIntN(64, value);
  const number = Number(signed);
  return Number.isSafeInteger(number) ? number : String(signed);
}

/** Nanoseconds since the epoch of a google.protobuf.Timestamp. */
export function timestampOf(bytes: Uint8Array): bigint {
  let seconds = 0n;
  let nanos = 0n;
  for (const [number, value] of readFields(bytes)) {
    if (typeof value !== 'bigint') continue;
    if (number === 1) seconds = BigInt.asIntN(64, value);
    if (number === 2) nanos = BigInt.asIntN(32, value);
  }
  return seconds * 1_000_000_000n + nanos;
}

/** `2026-10-05T08:00:00.000000001Z`. Throws an Error for a time that no calendar has. */
export function timeText(nanoseconds: bigint): string {
  const nanos = ((nanoseconds % 1_000_000_000n) + 1_000_000_000n) % 1_000_000_000n;
  const milliseconds = Number((nanoseconds - nanos) / 1_000_000n);
  if (Math.abs(milliseconds) > 8.64e15) throw new Error('a time that no calendar has');
  return `${new Date(milliseconds).toISOString().slice(0, -5)}.${String(nanos).padStart(9, '0')}Z`;
}

/** A field of a request; a number as a varint, everything else with its length. */
export function encodeField(number: number, value: bigint | string | Uint8Array): Buffer {
  if (typeof value === 'bigint')
    return Buffer.concat([varintOf(BigInt(number) << 3n), varintOf(BigInt.asUintN(64, value))]);
  const bytes = typeof value === 'string' ? Buffer.from(value) : value;
  return Buffer.concat([varintOf((BigInt(number) << 3n) | 2n), varintOf(BigInt(bytes.byteLength)), bytes]);
}

/** A google.protobuf.Timestamp. */
export function encodeTime(nanoseconds: bigint): Buffer {
  const nanos = nanoseconds % 1_000_000_000n;
  return Buffer.concat([encodeField(1, (nanoseconds - nanos) / 1_000_000_000n), encodeField(2, nanos)]);
}

function varintOf(value: bigint): Buffer {
  const bytes: number[] = [];
  let rest = value;
  do {
    const low = Number(rest & 127n);
    rest >>= 7n;
    bytes.push(rest === 0n ? low : low | 128);
  } while (rest > 0n);
  return Buffer.from(bytes);
}
