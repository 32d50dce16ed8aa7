#!/usr/bin/env node
// Plain JavaScript, nothing imported before the runtime is known to be fit.
const { whyUnfit } = await import('./runtime.js');
const reason = whyUnfit();
if (reason !== undefined) {
  process.stderr.write(reason);
  if (process.argv.includes('--json')) {
    const error = { code: 'SP201', message: reason.trim(), where: null, hint: null };
    process.stdout.write(`${JSON.stringify({ apiVersion: 'sallyport.dev/v1', kind: 'Error', error }, undefined, 2)}\n`);
  }
  process.exitCode = 2;
} else {
  const { existsSync, mkdirSync, statSync } = await import('node:fs');
  const [{ enableCompileCache }, { homedir }] = await Promise.all([import('node:module'), import('node:os')]);
  // Reading the sources is half of a short command's time. What lies in that folder is run: it must be this user's alone.
  const { XDG_CACHE_HOME } = process.env;
  const cacheHome = XDG_CACHE_HOME === undefined || XDG_CACHE_HOME === '' ? `${homedir()}/.cache` : XDG_CACHE_HOME;
  const compiled = `${cacheHome}/sallyport/compiled`;
  try {
    mkdirSync(compiled, { recursive: true, mode: 0o700 });
    const { uid, mode } = statSync(compiled);
    if (process.getuid === undefined || (uid === process.getuid() && (mode & 0o077) === 0))
      enableCompileCache(compiled);
  } catch {
    // A home that cannot be written to: it starts as it did.
  }
  const source = new URL('../src/main.ts', import.meta.url);
  const built = new URL('../dist/src/main.js', import.meta.url);
  // A checkout runs its sources even where an older build lies beside them.
  const entry = existsSync(source) ? source : built;
  const { main } = await import(entry.href);
  await main(process.argv.slice(2));
}
