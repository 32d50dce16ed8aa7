import inquirer from 'inquirer';
import { cancelled } from './interrupt.ts';
import { cut } from './output.ts';

export interface Choice<T> {
  readonly name: string;
  readonly value: T;
  /** What stands behind the question once it is answered; the name without it. */
  readonly short?: string;
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
      throw cancelled('cancelled; what was done before is on record, and nothing more was written');
    throw error;
  }
}

/** A choice that wraps is redrawn in the wrong place when the cursor moves: it is cut. */
function fit(text: string): string {
  return cut(text, Math.max(40, process.stdout.columns || 80) - 4);
}

export const terminalPrompts: Prompts = {
  select: async (message, choices) =>
    orCancelled(async () => {
      const { answer } = await inquirer.prompt<{ answer: unknown }>([
        {
          type: 'select',
          name: 'answer',
          message: fit(message),
          pageSize: Math.max(5, Math.min(15, (process.stdout.rows || 24) - 6)),
          loop: false,
          choices: choices.map((choice) => ({
            name: fit(choice.name),
            value: choice.value,
            short: choice.short ?? choice.name,
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
