// The first thing that the single-file executable runs. The program itself is data in it: on the first start it is unpacked into the
// user's cache, and run from there. Its folder is named by its content, so that another version stands beside it.
'use strict';
const {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} = require('node:fs');
const { createRequire, enableCompileCache } = require('node:module');
const { homedir, tmpdir } = require('node:os');
const { basename, dirname, join } = require('node:path');
const { getAsset, getRawAsset } = require('node:sea');
const { gunzipSync } = require('node:zlib');

/** Writes every file of the archive below a folder: an index as JSON, its length in front of it, then the files' bytes. */
function unpack(folder) {
  const bytes = gunzipSync(Buffer.from(getRawAsset('program')));
  const length = bytes.readUInt32BE(0);
  let at = 4 + length;
  for (const { path, size } of JSON.parse(bytes.subarray(4, at).toString('utf8'))) {
    mkdirSync(dirname(join(folder, path)), { recursive: true, mode: 0o700 });
    writeFileSync(join(folder, path), bytes.subarray(at, at + size), { mode: 0o600 });
    at += size;
  }
}

/** What lies there is run: it must be this user's alone. */
function isOwn(folder) {
  const { uid, mode } = statSync(folder);
  return process.getuid === undefined || (uid === process.getuid() && (mode & 0o077) === 0);
}

/** The folder of the program, unpacked where it was not. Where nothing can be kept, a folder that is gone at the end. */
function provide() {
  const { XDG_CACHE_HOME } = process.env;
  const cache = join(
    XDG_CACHE_HOME === undefined || XDG_CACHE_HOME === '' ? join(homedir(), '.cache') : XDG_CACHE_HOME,
    'sallyport',
  );
  const folder = join(cache, `program-${getAsset('digest', 'utf8')}`);
  try {
    mkdirSync(cache, { recursive: true, mode: 0o700 });
    if (!existsSync(folder)) {
      if (process.stderr.isTTY)
        process.stderr.write('sallyport: the first start of this version unpacks it, once ...\n');
      const fresh = mkdtempSync(`${folder}.`);
      unpack(fresh);
      chmodSync(fresh, 0o700);
      try {
        renameSync(fresh, folder);
      } catch (error) {
        // Another start was quicker.
        rmSync(fresh, { recursive: true, force: true });
        if (!existsSync(folder)) throw error;
      }
    }
    if (isOwn(folder)) return folder;
  } catch {
    // A home that cannot be written to, or one that is full: below.
  }
  const passing = mkdtempSync(join(tmpdir(), 'sallyport-'));
  process.on('exit', () => rmSync(passing, { recursive: true, force: true }));
  unpack(passing);
  return passing;
}

const folder = provide();
enableCompileCache(join(folder, 'compiled'));
// Under this name kubectl asks what may stand next.
if (basename(process.argv0).startsWith('kubectl_complete')) process.argv.splice(2, 0, '__complete');
const { main } = createRequire(join(folder, 'package.json'))('./dist/src/main.js');
main(process.argv.slice(2));
