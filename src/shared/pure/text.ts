// C0, DEL and C1 controls, half characters, and the bidirectional, zero-width and tag marks that make text look like other text.
const UNSAFE =
  /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff\u{e0000}-\u{e007f}]/gu;

/**
 * Text from a cluster or a file made safe for a terminal: control characters, escape sequences and direction marks are
 * replaced by U+FFFD. Line breaks too, so a name can never start a line of its own.
 */
export function safeText(text: string): string {
  return text.replace(UNSAFE, '\ufffd');
}

// All of the above that JSON lets stand as it is: whatever is below the space, and half characters, JSON.stringify has escaped.
const UNSAFE_IN_JSON =
  /[\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\u{e0000}-\u{e007f}]/gu;

/** JSON text with the marks that a terminal obeys written as escapes: the same data, and nothing but data. */
export function escapeJson(json: string): string {
  return json.replace(UNSAFE_IN_JSON, (mark) =>
    Array.from({ length: mark.length }, (_, at) => `\\u${mark.charCodeAt(at).toString(16).padStart(4, '0')}`).join(''),
  );
}

/** `count` and a noun in the right number: "1 edge", "3 edges". */
export function plural(count: number, noun: string, many = `${noun}s`): string {
  return `${count} ${count === 1 ? noun : many}`;
}
