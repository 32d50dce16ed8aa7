import type { CodeTable } from './entry.ts';

/** SP5xx: the state file. Whatever they say, the file is left as it was. */
export const STATE_CODES = {
  SP501: {
    title: 'There is no state yet',
    exit: 5,
    means: 'The command reads the state, and there is none for this cluster or directory.',
    causes: [
      'Nothing was imported yet.',
      '`--state`, `--context` or `--manifests` name another one; a directory that was moved has another id.',
    ],
    fix: ['`sallyport observe SOURCE INPUT`, or name the file with `--state`.', 'Lost it? `sallyport state rebuild`.'],
  },
  SP502: {
    title: 'Not a state file',
    exit: 5,
    means: 'The file is there and is no state of Sallyport.',
    causes: ['`--state` names another file.'],
    fix: ['Name another file, or move this one away.'],
  },
  SP503: {
    title: 'The state file is damaged',
    exit: 5,
    means: 'The file is cut off or holds what SQLite cannot read. Nothing was written.',
    causes: ['A disk that failed, a copy that was interrupted, a file copied while it was written.'],
    fix: [
      'Keep it, and put a copy made before in its place.',
      'Without a copy: `sallyport state rebuild` with another `--state`; traffic is imported again.',
    ],
  },
  SP504: {
    title: 'A newer Sallyport wrote the state',
    exit: 5,
    means: 'The file has a version that this program does not know; it is not downgraded.',
    causes: ['An older program on this machine.'],
    fix: ['Install the newer version. Going back to the older one needs an export that it wrote.'],
  },
  SP505: {
    title: 'The state belongs to another cluster or directory',
    exit: 5,
    means: 'The identity on record is not that of the target: writing would mix two clusters.',
    causes: ['The context points elsewhere than before, such as a rebuilt cluster of the same name.'],
    fix: ['Choose the cluster with `--context` or `--manifests`, or its state with `--state`.'],
  },
  SP506: {
    title: 'The state file cannot be opened',
    exit: 5,
    means: 'The system refused the file or its folder; SQLite keeps `FILE-wal` and `FILE-shm` beside it.',
    causes: ['The file belongs to root after a run with sudo.', 'A read-only mount.'],
    fix: ['Make file and folder yours and writable, or name another with `--state`.'],
  },
  SP507: {
    title: 'The state could not be written',
    exit: 5,
    means:
      'The disk did not take the data; nothing of this transaction is on record. A write to the cluster waits until its record is on disk.',
    causes: ['A full disk or quota, or a disk that fails.'],
    fix: ['Make room, then `sallyport resume`.'],
  },
  SP508: {
    title: 'Another Sallyport uses the state',
    exit: 5,
    means: 'One process writes at a time.',
    causes: ['A run, an import or a session that is still going on.'],
    fix: ['Wait for it. `sallyport status` and others that only read work meanwhile.'],
  },
  SP509: {
    title: 'A row that this version cannot read',
    exit: 5,
    means: 'The file is whole, but a row is not as Sallyport writes it.',
    causes: ['The file was edited by hand or by another program.'],
    fix: ['Keep it as it is; use a copy from before, or the version that wrote it.'],
  },
  SP510: {
    title: 'The state is of an older version and cannot be brought up to date here',
    exit: 5,
    means: 'The command reads alone, the file needs a migration, and it may not be written.',
    causes: ['A read-only copy or mount.'],
    fix: ['Run the command once where the file is writable.'],
  },
  SP511: {
    title: 'Inputs were imported before',
    exit: 5,
    means: 'Evidence is told by its bytes and not counted twice; nothing was imported.',
    causes: ['The same file under another name, or twice in one command.'],
    fix: ['Leave these inputs out and import the others.'],
  },
  SP512: {
    title: 'The state here holds more than the import',
    exit: 5,
    means: 'Replacing it would lose runs or decisions; nothing was changed.',
    causes: ['The import is older, or the two went different ways.'],
    fix: ['Import this one there instead; or move the state here away, if what it holds may go.'],
  },
  SP513: {
    title: 'The file to export to exists',
    exit: 5,
    means: 'It may be the only copy of another state, and is not overwritten.',
    causes: ['An export of the same name.'],
    fix: ['Name a file that does not exist.'],
  },
  SP514: {
    title: 'Two processes follow the same traffic',
    exit: 5,
    means: 'The other one has recorded what this one read; nothing was recorded twice.',
    causes: ['A second `observe --follow` on the same input.'],
    fix: ['Leave one of the two running.'],
  },
} as const satisfies CodeTable;
