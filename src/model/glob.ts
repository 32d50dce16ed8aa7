/**
 * Does `text` match `pattern`, where `*` stands for any run of characters? Linear in the lengths times the stars, without a
 * regular expression: patterns come from people and data.
 */
export function matchText(pattern: string, text: string): boolean {
  const parts = pattern.split('*');
  const [head = '', ...rest] = parts;
  if (rest.length === 0) return pattern === text;
  if (!text.startsWith(head)) return false;
  const tail = rest.pop() ?? '';
  let at = head.length;
  for (const part of rest) {
    const found = text.indexOf(part, at);
    if (found < 0) return false;
    at = found + part.length;
  }
  return text.length - tail.length >= at && text.endsWith(tail);
}

/**
 * The same with `?` for one character beside it, as the StringLike of AWS IAM has it (IAM User Guide, "String condition operators"). At most
 * the product of both lengths.
 */
export function matchStringLike(pattern: string, text: string): boolean {
  let [at, from, star, mark] = [0, 0, -1, 0];
  while (from < text.length) {
    const one = pattern[at];
    if (one === '*') {
      star = at;
      mark = from;
      at += 1;
    } else if (one !== undefined && (one === '?' || one === text[from])) {
      at += 1;
      from += 1;
    } else if (star >= 0) {
      mark += 1;
      at = star + 1;
      from = mark;
    } else return false;
  }
  return /^\**$/u.test(pattern.slice(at));
}
