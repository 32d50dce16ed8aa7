import inquirer from 'inquirer';
import { EXIT, Failure } from '../shared/pure/errors.ts';

export interface Choice<T> {
  readonly name: string;
  readonly value: T;
  readonly description?: string;
}

/** How the session asks. Tests answer from a script. */
export interface Prompts {
  select<T>(message: string, choices: readonly Choice<T>[]): Promise<T>;
  confirm(message: string, initial?: boolean): Promise<boolean>;
  text(message: string): Promise<string>;
}

/** inquirer throws when Ctrl-C is pressed or the input ends: a cancellation, not a bug. */
async function orCancelled<T>(ask: () => Promise<T>): Promise<T> {
  try {
    return await ask();
  } catch (error) {
    if (error instanceof Error && ['ExitPromptError', 'AbortPromptError', 'CancelPromptError'].includes(error.name))
      throw new Failure({
        code: 'SP130',
        exit: EXIT.cancelled,
        message: 'cancelled; nothing was written since the last step reported as done',
        hint: 'sallyport status shows where each namespace stands',
      });
    throw error;
  }
}

export const terminalPrompts: Prompts = {
  select: async (message, choices) =>
    orCancelled(async () => {
      const { answer } = await inquirer.prompt<{ answer: unknown }>([
        {
          type: 'select',
          name: 'answer',
          message,
          pageSize: 15,
          choices: choices.map((choice) => ({
            name: choice.name,
            value: choice.value,
            ...(choice.description === undefined ? {} : { description: choice.description }),
          })),
        },
      ]);
      return answer as (typeof choices)[number]['value'];
    }),
  confirm: async (message, initial = false) =>
    orCancelled(async () => {
      const { answer } = await inquirer.prompt<{ answer: boolean }>([
        { type: 'confirm', name: 'answer', message, default: initial },
      ]);
      return answer;
    }),
  text: async (message) =>
    orCancelled(async () => {
      const { answer } = await inquirer.prompt<{ answer: string }>([{ type: 'input', name: 'answer', message }]);
      return answer;
    }),
};

export function askConfirm(message: string, signal: AbortSignal): Promise<boolean> {
  if (signal.aborted) return Promise.resolve(false);
  return terminalPrompts.confirm(message);
}
