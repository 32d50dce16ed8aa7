// Plain JavaScript without static imports: an old Node must be able to read this file and say what is wrong,
// because it can neither load the sources nor the native modules.
export const MINIMUM = [22, 19];

/** @returns {string | undefined} why this Node cannot run the program, or undefined if it can. */
export function whyUnfit(version = process.versions.node) {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  if (major > MINIMUM[0] || (major === MINIMUM[0] && minor >= MINIMUM[1])) return undefined;
  return (
    `sallyport: Node ${version} is too old; ${MINIMUM.join('.')} or newer is needed.\n` +
    `  In a checkout run "npm ci" (without --ignore-scripts), which brings its own Node, and use the npm scripts:\n` +
    `  npm run -s sallyport -- --help\n`
  );
}
