import type { AccountMove, AccountTable, AccountView, Totals } from '../candidates/account-table.ts';
import { formatRight } from '../model/rbac.ts';
import { groupBy } from '../shared/pure/order.ts';
import { maskText } from '../shared/pure/mask.ts';
import { plural, safeText } from '../shared/pure/text.ts';
import type { Output } from './output.ts';
import { few, paint, table, wrap } from './output.ts';

/** Accounts by namespace, worst first in each line; then before and after. */
export function renderAccounts(output: Output, { accounts, moves, before, after }: AccountTable): void {
  const movesOf = groupBy(moves, (move) => `${move.workload.slice(0, move.workload.indexOf('/'))}/${move.from}`);
  for (const [namespace, own] of groupBy(accounts, (account) => account.namespace)) {
    const used = own.filter((account) => account.workloads.length > 0);
    const idle = own.filter(
      (account) => account.workloads.length === 0 && account.direct.length + account.cloud.length > 0,
    );
    if (used.length + idle.length === 0) continue;
    output.line(paint(output, 'bold', safeText(namespace)));
    for (const account of [...used, ...idle]) renderAccount(output, account, movesOf.get(account.id) ?? []);
    output.line();
  }
  output.line(paint(output, 'bold', 'Before and after the phase identity'));
  for (const line of table([
    ['', 'before', 'after'],
    ...ROWS.map(([text, of]) => [text, String(of(before)), String(of(after))]),
  ]))
    output.line(`  ${line}`);
}

const ROWS: readonly (readonly [string, (totals: Totals) => number])[] = [
  ['accounts in use', (totals) => totals.accounts],
  ['accounts that workloads share', (totals) => totals.shared],
  ['workloads that share one', (totals) => totals.sharing],
  ['workloads on a default account', (totals) => totals.onDefault],
  ['workloads with a token of the API server', (totals) => totals.withToken],
  ['long-lived keys of clouds and stores', (totals) => totals.longLivedKeys],
  ['Secrets by envFrom, unknown whether keys', (totals) => totals.unknownKeys],
];

const MOST = 5;

function renderAccount(output: Output, account: AccountView, moves: readonly AccountMove[]): void {
  const marks = [
    ...(account.isDefault ? ['default'] : []),
    ...(account.shared ? [`shared by ${plural(account.workloads.length, 'workload')}`] : []),
    ...(account.exists ? [] : ['not read']),
    ...(account.workloads.length === 0 ? ['nobody runs as it'] : []),
  ];
  output.line(`  ${safeText(account.name)}${marks.length === 0 ? '' : ` (${marks.join(', ')})`}`);
  const say = (label: string, texts: readonly string[]): void => {
    if (texts.length === 0) return;
    const { shown, more } = few(texts, MOST);
    output.line(
      wrap(safeText(`${label}: ${[...shown, ...(more === '' ? [] : [more])].join('; ')}`), output.width, 6, 4),
    );
  };
  say(
    'workloads',
    account.workloads.map((id) => id.slice(id.indexOf('/') + 1)),
  );
  say(`rights (${account.direct.length})`, account.direct.map(formatRight));
  say('strong', account.powerful.map(formatRight));
  say('roles not read', account.unknownRoles);
  if (account.unused !== undefined)
    say(`not used in the log (${account.unused.length})`, account.unused.map(formatRight));
  const withToken = account.automount.filter(({ answer }) => answer !== 'no');
  if (account.workloads.length > 0)
    say('token', [
      withToken.length === 0
        ? 'put into no pod'
        : `put into the pods of ${plural(withToken.length, 'workload')}${withToken.some(({ answer }) => answer === 'unknown') ? ' (of some not known)' : ''}`,
      ...account.projected.map(
        ({ workload, audience, lifetimeSec }) =>
          `projected into ${workload} for ${audience ?? 'the API server'}, ${lifetimeSec} s`,
      ),
    ]);
  say('tokens that do not end', account.legacyTokens);
  say('pulls images with', account.imagePullSecrets);
  say(
    'cloud',
    account.cloud.map(({ way, identity, by }) => `${way} ${identity === undefined ? '' : maskText(identity)} (${by})`),
  );
  say(
    'long-lived keys',
    account.keys.map(
      ({ workload, cloud, place, reference }) =>
        `${cloud}: ${workload} ${place}${reference === undefined ? '' : `, ${reference}`}`,
    ),
  );
  const going = moves.filter((move) => move.to !== move.from);
  say(
    'afterwards',
    going.map((move) => `${move.workload} as ${move.to}${move.token === 'off' ? ', without a token' : ''}`),
  );
  for (const move of moves.filter(({ obstacles }) => obstacles.length > 0)) {
    say(`${move.workload} stays`, move.obstacles);
    say('by hand', move.outside);
  }
}
