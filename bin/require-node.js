// Run by "pretest" and "predemo": npm scripts find the Node of node_modules first, unless its install script was skipped.
const { whyUnfit } = await import('./runtime.js');
const reason = whyUnfit();
if (reason !== undefined) {
  process.stderr.write(reason);
  process.exitCode = 2;
}
