// What a surprise was, so that whoever reads the build's log can tell and can try it again.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { FIGURES } from './figures.ts';
import type { Surprise } from './ledger.ts';
import { summarise } from './ledger.ts';
import { exportObjects } from './objects.ts';
import type { Ended, Operator } from './operator.ts';
import { documentOf } from './operator.ts';
import type { Stage } from './stage/types.ts';

/**
 * Writes a folder for the first surprise of each pair (the cluster as it is now, the connection, what the product says of it with
 * `reach --explain`) and returns the story as text: the step, the connection, what was foretold, what the packet did. Call it soon
 * after the surprise: the cluster is taken down as it stands.
 */
export async function tellSurprises(
  stage: Stage,
  operator: Operator,
  namespaces: readonly string[],
  surprises: readonly Surprise[],
): Promise<string> {
  const pairs = new Map<string, Surprise>();
  for (const one of surprises) {
    const key = `${one.kind} ${one.src} ${one.dst} ${one.attempt.port}`;
    if (!pairs.has(key)) pairs.set(key, one);
  }
  const stories = [
    'The lab was surprised:',
    ...summarise(surprises)
      .slice(0, 12)
      .map((line) => `  ${line}`),
  ];
  let turn = 0;
  for (const surprise of [...pairs.values()].slice(0, 3)) {
    turn += 1;
    const { attempt, mark } = surprise;
    const proto = attempt.kind === 'udp' || attempt.kind === 'dns' ? 'udp' : 'tcp';
    // Outside the stage: it outlives it.
    const name = `${attempt.t.replaceAll(/[^0-9]/g, '').slice(4, 17)}-${turn}-${surprise.kind}`;
    const folder = join(dirname(FIGURES), 'surprises', name);
    mkdirSync(join(folder, 'cluster'), { recursive: true });
    const to = attempt.kind === 'dns' ? 'kube-system/Deployment/coredns' : surprise.dst;
    const question = ['--from', surprise.src, '--to', to, '--port', `${attempt.port}/${proto}`];
    const foretold = await operator.run(['reach', ...question, '--mesh', '--explain']);
    writeFileSync(join(folder, 'config.yaml'), readFileSync(operator.config));
    const list = await exportObjects(stage.client, [...namespaces, 'kube-system', 'istio-system']);
    writeFileSync(join(folder, 'cluster', 'all.json'), `${JSON.stringify(list, undefined, 1)}\n`);
    writeFileSync(join(folder, 'connection.json'), `${JSON.stringify(surprise, undefined, 2)}\n`);
    writeFileSync(join(folder, 'foretold.json'), foretold.stdout);
    stories.push(
      '',
      `${turn}. During ${mark.phase}, step: ${mark.step === '' ? '(none)' : mark.step}`,
      `   ${surprise.pod} -> ${attempt.dst} (${attempt.ip ?? ''}) ${attempt.port}/${proto}, client "${attempt.client}", at ${attempt.t}`,
      surprise.kind === 'legitimate-failed'
        ? `   should pass, and did not: ${attempt.err ?? ''} ${attempt.text ?? ''} after ${attempt.latencyUs} us`
        : `   should be blocked, and was answered by ${attempt.by ?? 'somebody'} in ${attempt.latencyUs} us`,
      `   the simulator says of the state after it: ${sayForetold(foretold)}`,
      `   fixture: ${folder}`,
      `   again: sallyport reach ${question.join(' ')} --mesh --explain --manifests ${folder}/cluster --config ${folder}/config.yaml`,
    );
  }
  return stories.join('\n');
}

/** The answer of `reach` with its reasons, or why there is none. */
function sayForetold(ended: Ended): string {
  const { query, error } = documentOf(ended) as {
    readonly query?: { readonly answer: string; readonly reasons: readonly { readonly text: string }[] };
    readonly error?: { readonly message: string };
  };
  if (query === undefined) return `nothing (${error?.message ?? `exit ${String(ended.code)}`})`;
  return `${query.answer}. ${query.reasons.map(({ text }) => text).join(' ')}`;
}
