import { EXIT, Failure } from '../shared/pure/errors.ts';

/** A proposal that is none any more, or something that was never carried out. */
export function notAProposal(message: string, where: string, hint: string): Failure {
  return new Failure({ code: 'SP661', exit: EXIT.usage, message, where, hint });
}

/** Somebody has to say yes, and nobody is there. */
export function nobodyThere(message: string, where: string, hint: string): Failure {
  return new Failure({ code: 'SP496', exit: EXIT.usage, message, where, hint });
}

export function saidNo(): Failure {
  return new Failure({ code: 'SP497', exit: EXIT.cancelled, message: 'not confirmed; nothing was written' });
}
