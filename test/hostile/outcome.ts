import { isFailure } from '../../src/shared/pure/errors.ts';
import type { FailureDetail } from '../../src/shared/pure/errors.ts';
import { assertUnpolluted } from './mutate.ts';

export type Outcome<T> =
  | { readonly kind: 'result'; readonly value: T }
  | { readonly kind: 'failure'; readonly detail: Omit<FailureDetail, 'cause'> };

const CONTROL = /[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/u;

/**
 * What came of some work on hostile input: its result, or a Failure with a code, an exit code that is no bug's, where and what next.
 * Anything else that is thrown is a bug, and thrown on. The message of a Failure may not carry what a terminal would obey.
 */
export async function outcomeOf<T>(work: () => Promise<T> | T): Promise<Outcome<T>> {
  try {
    const value = await work();
    return { kind: 'result', value };
  } catch (error) {
    if (!isFailure(error)) throw error;
    const { code, exit, message, where = '', hint = '' } = error.detail;
    const detail = { code, exit, message, where, hint };
    if (!/^SP[1-6]\d\d$/.test(code) || exit === 1)
      throw new Error(`a Failure without a code of its own: ${JSON.stringify(detail)}`, { cause: error });
    if (where === '' || hint === '')
      throw new Error(`a Failure that does not say where, or what to do: ${JSON.stringify(detail)}`, { cause: error });
    if (CONTROL.test(message) || CONTROL.test(hint))
      throw new Error(`a Failure with control characters: ${JSON.stringify(detail)}`, { cause: error });
    if (message.length + hint.length > 20_000)
      throw new Error(`a Failure of ${message.length} characters`, { cause: error });
    return { kind: 'failure', detail };
  } finally {
    assertUnpolluted();
  }
}
