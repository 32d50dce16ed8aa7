import { execFile } from 'node:child_process';
import { rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { removeEmptyFolders } from '../shared/io/files.ts';
import { EXIT, Failure } from '../shared/pure/errors.ts';
import { maskText } from '../shared/pure/mask.ts';
import { shellWord } from '../shared/pure/shell.ts';
import { plural, safeText } from '../shared/pure/text.ts';

/** What a commit of ours says of itself in its last lines, one `Key: value` each. */
export const RUN_TRAILER = 'Sallyport-Run';
/** Of a commit that takes others back: their runs. */
export const REVERTS_TRAILER = 'Sallyport-Reverts';

function hasTrailer(message: string, key: string, value: string): boolean {
  return message.split('\n').some((line) => line.trim() === `${key}: ${value}`);
}

/** A Git working tree, by the user's own `git`: hooks, signing, author and credentials are as they are configured. */
export interface Repository {
  /** The top of the working tree. */
  readonly root: string;
  /** The branch that is checked out. */
  readonly branch: string;
  /** Throws a Failure (SP641, exit 3) when anything in the tree is not committed. */
  assertClean(): Promise<void>;
  head(): Promise<string>;
  /** Addresses of the remotes, as configured. */
  remotes(): Promise<readonly string[]>;
  /**
   * Commits these paths (relative to the top) with a message, and answers with the commit's id. Where a hook or the signing refuses, the
   * paths are put back as they were and a Failure (SP642, exit 3) is thrown.
   */
  commit(paths: readonly string[], message: string): Promise<string>;
  /** Takes commits back in the tree and the index, newest first, without a commit. False, with the tree as before, where it conflicts. */
  revert(commits: readonly string[]): Promise<boolean>;
  /** Paths that are staged, relative to the top. */
  staged(): Promise<readonly string[]>;
  /** Puts these paths back as the last commit has them; what it does not have goes. Only for a tree that was clean before. */
  restore(paths: readonly string[]): Promise<void>;
  /** The newest commit reachable from `from` (the branch by default) whose message has this run's trailer and that no later one reverts. */
  commitOf(run: string, from?: string): Promise<string | undefined>;
  /** Whether a revision holds a commit or, where it was squashed or cherry-picked, the run's trailer; unknown for a revision that is not here. */
  holds(revision: string, commit: string, run: string): Promise<'yes' | 'no' | 'unknown'>;
  /**
   * `git push`, as it is configured for the branch; a push of what is there already does nothing. Never forced. Throws a Failure: SP691 (exit
   * 3) where the remote has commits that are not here, SP693 (exit 3) where it does not take this branch, SP643 (exit 4) for the rest.
   */
  push(): Promise<void>;
}

interface Answer {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

const MOST_BYTES = 64 * 1024 * 1024;
const MOST_NAMED = 5;

/**
 * Opens the working tree that `dir` is in. Throws a Failure (exit 2): SP202 where there is none, SP203 where no branch is checked out or a
 * merge is under way, SP205 where Git knows no author.
 */
export async function openRepository(dir: string, env: NodeJS.ProcessEnv): Promise<Repository> {
  // No shell: paths and names are arguments, whatever is in them. No prompt: nobody may be there to answer it.
  const call = (cwd: string, args: readonly string[], input = ''): Promise<Answer> =>
    new Promise((resolve, reject) => {
      const child = execFile(
        'git',
        ['--literal-pathspecs', '-C', cwd, ...args],
        { env: { ...env, GIT_TERMINAL_PROMPT: '0', LC_ALL: 'C' }, maxBuffer: MOST_BYTES, encoding: 'utf8' },
        (error, stdout, stderr) => {
          const code = error === null ? 0 : error.code;
          if (typeof code === 'number') resolve({ code, stdout, stderr });
          else if (error !== null)
            reject(
              new Failure({
                code: 'SP202',
                exit: EXIT.usage,
                message: `git cannot be run: ${String(error.code ?? error.message)}`,
                where: dir,
                hint: 'install git, or put it on the PATH',
                cause: error,
              }),
            );
        },
      );
      child.stdin?.on('error', () => undefined);
      child.stdin?.end(input);
    });

  const top = await call(dir, ['rev-parse', '--show-toplevel']);
  if (top.code !== 0)
    throw new Failure({
      code: 'SP202',
      exit: EXIT.usage,
      message: `${safeText(dir)} is in no Git working tree: ${said(top)}`,
      where: dir,
      hint: 'name a folder inside a clone with --git DIR',
    });
  const root = top.stdout.replace(/\n$/u, '');
  const git = (args: readonly string[], input?: string): Promise<Answer> => call(root, args, input);
  const must = async (args: readonly string[], input?: string): Promise<string> => {
    const answer = await git(args, input);
    if (answer.code !== 0) throw failed(root, args, answer);
    return answer.stdout;
  };
  const branch = (await git(['symbolic-ref', '--quiet', '--short', 'HEAD'])).stdout.trim();
  const busy: string[] = [];
  for (const head of ['MERGE_HEAD', 'REVERT_HEAD', 'CHERRY_PICK_HEAD', 'REBASE_HEAD'])
    if ((await git(['rev-parse', '--verify', '--quiet', head])).code === 0) busy.push(head);
  if (branch === '' || busy.length > 0)
    throw new Failure({
      code: 'SP203',
      exit: EXIT.usage,
      message: branch === '' ? 'no branch is checked out' : `something is under way there: ${busy.join(', ')}`,
      where: safeText(root),
      hint:
        branch === ''
          ? `git -C ${shellWord(root)} switch BRANCH`
          : `finish or abort it: git -C ${shellWord(root)} status`,
    });
  if ((await git(['rev-parse', '--verify', '--quiet', 'HEAD'])).code !== 0)
    throw new Failure({
      code: 'SP203',
      exit: EXIT.usage,
      message: 'the branch has no commit yet',
      where: safeText(root),
      hint: 'commit what the repository holds first',
    });
  for (const [key, name] of [
    ['user.name', 'GIT_AUTHOR_NAME'],
    ['user.email', 'GIT_AUTHOR_EMAIL'],
  ] as const)
    if ((env[name] ?? '') === '' && (await git(['config', '--get', key])).stdout.trim() === '')
      throw new Failure({
        code: 'SP205',
        exit: EXIT.usage,
        message: `Git knows no author: ${key} is not configured`,
        where: safeText(root),
        hint: `git -C ${shellWord(root)} config ${key} ...`,
      });

  const changed = async (): Promise<readonly string[]> =>
    (await must(['status', '--porcelain=v1', '-z', '--untracked-files=all', '--no-renames']))
      .split('\0')
      .filter((line) => line !== '')
      .map((line) => line.slice(3));

  const restore = async (paths: readonly string[]): Promise<void> => {
    const known = new Set((await must(['ls-tree', '-r', '-z', '--name-only', 'HEAD'])).split('\0'));
    const [old, made] = [paths.filter((path) => known.has(path)), paths.filter((path) => !known.has(path))];
    if (made.length > 0) await must(['rm', '--cached', '--quiet', '--force', '--ignore-unmatch', '--', ...made]);
    for (const path of made) {
      await rm(join(root, path), { force: true });
      await removeEmptyFolders(dirname(join(root, path)), join(root, path.split('/')[0] ?? ''));
    }
    if (old.length > 0) await must(['restore', '--source=HEAD', '--staged', '--worktree', '--', ...old]);
  };

  const logged = async (
    run: string,
    from: string,
  ): Promise<readonly { readonly id: string; readonly text: string }[]> => {
    const answer = await git(['log', '-z', '--format=%H%n%B', '--fixed-strings', `--grep=${run}`, from, '--']);
    if (answer.code !== 0) return [];
    return answer.stdout
      .split('\0')
      .filter((one) => one !== '')
      .map((one) => ({ id: one.slice(0, one.indexOf('\n')), text: one.slice(one.indexOf('\n') + 1) }));
  };

  return {
    root,
    branch,
    async assertClean() {
      const paths = await changed();
      if (paths.length === 0) return;
      const named = paths.slice(0, MOST_NAMED).map((path) => safeText(path));
      throw new Failure({
        code: 'SP641',
        exit: EXIT.refused,
        message: `${plural(paths.length, 'path')} of the working tree ${paths.length === 1 ? 'is' : 'are'} not committed: ${named.join(', ')}${paths.length > MOST_NAMED ? ', ...' : ''}`,
        where: safeText(root),
        hint: `commit it, or put it aside: git -C ${shellWord(root)} stash push --include-untracked`,
      });
    },
    head: async () => (await must(['rev-parse', 'HEAD'])).trim(),
    remotes: async () =>
      (await git(['config', '--get-regexp', String.raw`^remote\..*\.url$`])).stdout
        .split('\n')
        .flatMap((line) => line.split(' ').slice(1, 2)),
    async commit(paths, message) {
      // Unlike `git add` it takes a path that a revert has taken out already.
      const added = await git(['update-index', '--add', '--remove', '-z', '--stdin'], paths.join('\0'));
      const answer =
        added.code === 0 ? await git(['commit', '--quiet', '--cleanup=whitespace', '--file=-'], message) : added;
      if (answer.code !== 0) {
        await restore(paths);
        throw new Failure({
          code: 'SP642',
          exit: EXIT.refused,
          message: `git refused the commit, and the tree is as it was: ${said(answer)}`,
          where: safeText(root),
          hint: 'a hook or the signing of commits said no: mend what it names, then the same command again',
        });
      }
      return (await must(['rev-parse', 'HEAD'])).trim();
    },
    async revert(commits) {
      for (const commit of commits) {
        const answer = await git(['revert', '--no-commit', '--no-edit', commit]);
        if (answer.code === 0) continue;
        await git(['revert', '--quit']);
        // What somebody edits meanwhile stays.
        await must(['reset', '--quiet', '--merge', 'HEAD']);
        return false;
      }
      await git(['revert', '--quit']);
      return true;
    },
    staged: async () =>
      (await must(['diff', '--cached', '--name-only', '-z', '--no-renames'])).split('\0').filter((path) => path !== ''),
    restore,
    async commitOf(run, from = 'HEAD') {
      const found = await logged(run, from);
      if (found.some(({ text }) => hasTrailer(text, REVERTS_TRAILER, run))) return undefined;
      const id = found.find(({ text }) => hasTrailer(text, RUN_TRAILER, run))?.id;
      if (id === undefined) return undefined;
      // As `git revert` writes it by itself.
      const byHand = await logged(`This reverts commit ${id}`, from);
      return byHand.length === 0 ? id : undefined;
    },
    async holds(revision, commit, run) {
      if ((await git(['cat-file', '-e', `${revision}^{commit}`])).code !== 0) return 'unknown';
      if ((await git(['merge-base', '--is-ancestor', commit, revision])).code === 0) return 'yes';
      const found = await logged(run, revision);
      return found.some(({ text }) => hasTrailer(text, RUN_TRAILER, run)) ? 'yes' : 'no';
    },
    async push() {
      const answer = await git(['push', '--porcelain']);
      if (answer.code !== 0) throw pushFailed(root, branch, answer);
    },
  };
}

/** What git said, short, on one line, without what looks like a credential in an address. */
function said({ stderr, stdout }: Answer): string {
  const text = (stderr.trim() === '' ? stdout : stderr).trim().split('\n').slice(-MOST_NAMED).join('; ');
  return safeText(maskText(text)).slice(0, 500);
}

/**
 * Why a push did not go through, by the lines of `git push --porcelain` (`!`, the refs, the reason; git-push(1), "Output"): nothing here
 * overwrites what others pushed, so each says what a person does.
 */
function pushFailed(root: string, branch: string, answer: Answer): Failure {
  const reason = answer.stdout
    .split('\n')
    .flatMap((line) => (line.startsWith('!\t') ? [line.split('\t')[2] ?? ''] : []))
    .join('; ');
  const where = safeText(root);
  const at = `git -C ${shellWord(root)}`;
  if (/\[rejected\] \((?:fetch first|non-fast-forward|stale info|needs force)\)/u.test(reason))
    return new Failure({
      code: 'SP691',
      exit: EXIT.refused,
      message: `the branch ${safeText(branch)} has moved: the remote has commits that this clone has not, and nothing is forced`,
      where,
      hint: `${at} pull --rebase, then sallyport resume --push: the commit is found again by its trailer. Where it conflicts: ${at} rebase --abort, then sallyport rollback with the same --git, and plan anew`,
      nature: 'passes',
    });
  if (reason.includes('[remote rejected]'))
    return new Failure({
      code: 'SP693',
      exit: EXIT.refused,
      message: `the remote does not take ${safeText(branch)}: ${said({ ...answer, stderr: `${reason}\n${answer.stderr}` })}`,
      where,
      hint: `push it as another branch (${at} push origin HEAD:refs/heads/NAME), open a pull request with the text that was written, then sallyport resume`,
      nature: 'passes',
    });
  return new Failure({
    code: 'SP643',
    exit: EXIT.cluster,
    message: `git push failed: ${said(answer)}`,
    where,
    hint: `the commit is there: ${at} push, then sallyport resume`,
    nature: 'passes',
  });
}

function failed(root: string, args: readonly string[], answer: Answer): Failure {
  return new Failure({
    code: 'SP646',
    exit: EXIT.cluster,
    message: `git ${args[0] ?? ''} failed: ${said(answer)}`,
    where: safeText(root),
    hint: `look at git -C ${shellWord(root)} status`,
  });
}
