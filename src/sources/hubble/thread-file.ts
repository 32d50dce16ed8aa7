/** The file of a thread: sources run as TypeScript in a checkout and as JavaScript when installed. */
export function threadFile(name: 'worker' | 'read-thread'): URL {
  return new URL(import.meta.url.endsWith('.ts') ? `./${name}.ts` : `./${name}.js`, import.meta.url);
}
