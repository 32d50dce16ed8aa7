// Run as a process of its own by tests of locks, crashes and rights. First line out: `ready`, or a failure as JSON.
import { isFailure } from '../../src/shared/pure/errors.ts';
import { openJournal } from '../../state/journal.ts';
import { openState } from '../../state/open.ts';
import {
  makeAudit,
  makeCreate,
  makeEdge,
  makeInput,
  makeRun,
  makeState,
  makeStep,
  NO_MORE,
  TARGET,
} from './samples.ts';

const [, , action, file = ''] = process.argv;

/** As another user, where the tests run as root and nothing would be forbidden. SQLite is loaded before. */
function dropRights(): void {
  makeState().close();
  if (process.getuid?.() !== 0) return;
  process.setegid?.(65534);
  process.seteuid?.(65534);
}

function act(): void {
  switch (action) {
    case 'hold': {
      const state = openState(file, { target: TARGET, mode: 'write' });
      process.stdin.on('end', () => state.close()).resume();
      return;
    }
    case 'start-a-step': {
      const journal = openJournal(openState(file, { target: TARGET, mode: 'write' }).writer);
      journal.openRun(makeRun('r1', [makeStep('a', makeCreate('a')), makeStep('b', makeCreate('b'))]));
      journal.stepStarted('r1', 0, makeCreate('a'), 7_000);
      process.stdin.resume();
      return;
    }
    case 'read-without-rights':
    case 'write-without-rights':
      dropRights();
      openState(file, { target: TARGET, mode: action === 'read-without-rights' ? 'read' : 'write' });
      return;
    case 'perform': {
      // A run of many steps, with imports between them, until it is killed.
      const { writer } = openState(file, { target: TARGET, mode: 'write' });
      const journal = openJournal(writer);
      process.stdout.write('ready\n');
      for (let number = 0; ; number += 1) {
        const run = `r${number}`;
        const steps = Array.from({ length: 5 }, (_, index) => makeStep(`${index}`, makeCreate(`${index}`)));
        journal.openRun(makeRun(run, steps));
        for (const [index, { change }] of steps.entries()) {
          journal.stepStarted(run, index, change, 7_000);
          const edges = Array.from({ length: 200 }, (_, port) => makeEdge({ port, l7: `GET /${number}/${index}` }));
          writer.importEdges({ inputs: [makeInput(`${number} ${index}`)], edges, evidence: NO_MORE });
          journal.stepDone(run, index, { uid: run, at: 7_001, audit: makeAudit('created', { run }) });
        }
        journal.closeRun(run, 'done', 'allow-list', 7_002);
      }
    }
    case 'fill': {
      const { writer } = openState(file, { target: TARGET, mode: 'write' });
      for (let batch = 0; ; batch += 1) {
        const edges = Array.from({ length: 500 }, (_, index) => makeEdge({ port: index, l7: `GET /${batch}` }));
        writer.importEdges({ inputs: [makeInput(`batch ${batch}`)], edges, evidence: NO_MORE });
      }
    }
    default:
      throw new Error('no such action');
  }
}

try {
  act();
  process.stdout.write('ready\n');
} catch (error) {
  if (!isFailure(error)) throw error;
  process.stdout.write(`${JSON.stringify({ ...error.detail, cause: undefined })}\n`);
}
