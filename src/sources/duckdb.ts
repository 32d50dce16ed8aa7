import { createRequire } from 'node:module';
import { EXIT, Failure, messageOf } from '../shared/pure/errors.ts';
import { safeText } from '../shared/pure/text.ts';

/** Tested with this version; others of the same major one are likely to do. Sixty megabytes, and so installed by those alone who need it. */
const PACKAGE = '@duckdb/node-api';

/** As much of the package as is used here. */
interface DuckDb {
  readonly DuckDBInstance: {
    create(path: string, options: Readonly<Record<string, string>>): Promise<Instance>;
  };
}
interface Instance {
  connect(): Promise<Connection>;
  closeSync(): void;
}
interface Connection {
  run(sql: string): Promise<unknown>;
  stream(sql: string): Promise<{ yieldRowObjectJson(): AsyncIterable<readonly Row[]> }>;
  closeSync(): void;
}

export type Row = Readonly<Record<string, unknown>>;

export interface Archive {
  run(sql: string): Promise<void>;
  /** Rows a few at a time, with values as JSON has them; large numbers are texts. */
  rows(sql: string): AsyncGenerator<Row>;
  close(): void;
}

/**
 * An embedded DuckDB in memory, with files open to it and the network not. Throws a Failure SP297 (exit 2) where the package is not
 * installed, and for a query that it refuses.
 */
export async function openArchive(where: string): Promise<Archive> {
  let loaded: DuckDb;
  try {
    // Required, not imported: nothing that packs the program may take it along.
    loaded = createRequire(import.meta.url)(PACKAGE) as DuckDb;
  } catch (error) {
    throw new Failure({
      code: 'SP297',
      exit: EXIT.usage,
      message: `${safeText(where)} is read by DuckDB, which is not installed beside Sallyport`,
      where,
      hint: `npm install ${PACKAGE}@1.5.5-r.5 (with -g where Sallyport was installed with it), then again`,
      cause: error,
    });
  }
  // What is read is given by path; nothing is fetched or installed on the way.
  const instance = await loaded.DuckDBInstance.create(':memory:', {
    autoinstall_known_extensions: 'false',
    autoload_known_extensions: 'false',
    threads: '2',
  });
  const connection = await instance.connect();
  const refused = (error: unknown): Failure =>
    new Failure({
      code: 'SP297',
      exit: EXIT.usage,
      message: `${safeText(where)}: DuckDB says: ${safeText(messageOf(error))}`,
      where,
      hint: 'mend the query or the file; docs/sources.md has queries to begin with',
      cause: error,
    });
  return {
    async run(sql) {
      try {
        await connection.run(sql);
      } catch (error) {
        throw refused(error);
      }
    },
    async *rows(sql) {
      try {
        const result = await connection.stream(sql);
        for await (const rows of result.yieldRowObjectJson()) yield* rows;
      } catch (error) {
        throw error instanceof Failure ? error : refused(error);
      }
    },
    close() {
      connection.closeSync();
      instance.closeSync();
    },
  };
}

/** A text of SQL. */
export function quoted(text: string): string {
  return `'${text.replaceAll("'", "''")}'`;
}

/** A name of SQL. */
export function quotedName(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}
