// What an installation of the package brings, from package-lock.json alone: equal input gives equal bytes, wherever and whenever it runs.
//   node scripts/sbom.js [FILE]               CycloneDX 1.6 as JSON, to FILE or standard output; SOURCE_DATE_EPOCH sets its time
//   node scripts/sbom.js --licences [FILE]    the licences as a table in Markdown (docs/licences.md)
// `--lock FILE` reads another lock file. Exit 1 where a licence is not among those below, or a package says nothing of itself.
// `npm sbom --omit dev` is not used: npm 11 leaves out what tools for development need as well (yaml and zod among them), writes
// CycloneDX 1.5, and puts the time, a random number and the name of the folder into it.
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** Licences that ask for no more than to be named. Another one is a person's decision. */
const ALLOWED = new Set([
  'MIT',
  'MIT-0',
  'ISC',
  'Apache-2.0',
  'BSD-2-Clause',
  'BSD-3-Clause',
  '0BSD',
  'BlueOak-1.0.0',
  'CC0-1.0',
  'PSF-2.0',
  'Python-2.0',
  'Unlicense',
]);

const args = process.argv.slice(2);
const lockAt = args.indexOf('--lock');
const lockFile =
  lockAt < 0
    ? fileURLToPath(new URL('../package-lock.json', import.meta.url))
    : (args.splice(lockAt, 2)[1] ?? fail('--lock needs a file'));
const licences = args[0] === '--licences';
if (licences) args.shift();
const [out] = args;

const { packages } = JSON.parse(readFileSync(lockFile, 'utf8'));
const root = packages[''];
const found = installed();
const text = licences ? licenceTable() : `${JSON.stringify(bom(), undefined, 2)}\n`;
if (out === undefined) process.stdout.write(text);
else writeFileSync(out, text);

/** @param {string} message @returns {never} */
function fail(message) {
  process.stderr.write(`${message}\n`);
  process.exit(1);
}

/** Where Node finds a package that the one at `from` asks for: the nearest node_modules upwards. */
function locate(from, name) {
  let base = from;
  for (;;) {
    const place = `${base === '' ? '' : `${base}/`}node_modules/${name}`;
    if (packages[place] !== undefined) return place;
    if (base === '') return undefined;
    const cut = base.lastIndexOf('/node_modules/');
    base = cut < 0 ? '' : base.slice(0, cut);
  }
}

/** Names that the package at a place asks for: what it needs, what it can do without, and peers that it insists on. */
function wants(entry) {
  const peers = Object.keys(entry.peerDependencies ?? {}).filter(
    (name) => entry.peerDependenciesMeta?.[name]?.optional !== true,
  );
  return [...Object.keys(entry.dependencies ?? {}), ...Object.keys(entry.optionalDependencies ?? {}), ...peers];
}

/** Every place that the root's dependencies lead to, with the places that each leads to. */
function installed() {
  const places = new Map();
  const follow = (from, entry) => {
    const next = wants(entry).flatMap((name) => {
      const place = locate(from, name);
      if (place !== undefined) return [place];
      if (entry.optionalDependencies?.[name] !== undefined) return [];
      return fail(`${from || 'the package'} asks for ${name}, and the lock file has none`);
    });
    places.set(from, next);
    for (const place of next) if (!places.has(place)) follow(place, packages[place]);
  };
  follow('', { dependencies: root.dependencies });
  places.delete('');
  return places;
}

function describe(place) {
  const { version, license, integrity, resolved, optional } = packages[place];
  const name = place.slice(place.lastIndexOf('node_modules/') + 'node_modules/'.length);
  if (version === undefined || license === undefined || integrity === undefined)
    return fail(`${place}: its version, licence or checksum is not in the lock file`);
  const alternatives = license.replace(/^\((.*)\)$/, '$1').split(' OR ');
  if (!alternatives.some((one) => ALLOWED.has(one)))
    return fail(`${name}@${version} is under ${license}, which is not among the licences allowed in scripts/sbom.js`);
  const slash = name.startsWith('@') ? name.indexOf('/') : -1;
  const purl = `pkg:npm/${name.replace('@', '%40')}@${version}`;
  return {
    name,
    group: slash < 0 ? undefined : name.slice(0, slash),
    own: name.slice(slash + 1),
    version,
    license,
    integrity,
    resolved,
    optional,
    purl,
  };
}

function described() {
  // One package may stand at several places.
  const byPurl = new Map([...found.keys()].map((place) => [describe(place).purl, describe(place)]));
  return [...byPurl.values()].sort((a, b) => (a.purl < b.purl ? -1 : 1));
}

function bom() {
  const rootRef = `pkg:npm/${root.name}@${root.version}`;
  const epoch = process.env.SOURCE_DATE_EPOCH;
  const asked = new Map([[rootRef, new Set()]]);
  for (const name of wants({ dependencies: root.dependencies }))
    asked.get(rootRef).add(describe(locate('', name)).purl);
  for (const [place, next] of found) {
    const { purl } = describe(place);
    const on = asked.get(purl) ?? new Set();
    for (const one of next) on.add(describe(one).purl);
    asked.set(purl, on);
  }
  return {
    $schema: 'http://cyclonedx.org/schema/bom-1.6.schema.json',
    bomFormat: 'CycloneDX',
    specVersion: '1.6',
    version: 1,
    metadata: {
      ...(epoch === undefined ? {} : { timestamp: new Date(Number(epoch) * 1000).toISOString() }),
      lifecycles: [{ phase: 'pre-build' }],
      component: {
        type: 'application',
        'bom-ref': rootRef,
        name: root.name,
        version: root.version,
        licenses: [{ license: { id: root.license } }],
        purl: rootRef,
      },
    },
    components: described().map(({ group, own, version, license, integrity, resolved, optional, purl }) => ({
      type: 'library',
      'bom-ref': purl,
      ...(group === undefined ? {} : { group }),
      name: own,
      version,
      scope: optional === true ? 'optional' : 'required',
      hashes: integrity
        .split(' ')
        .filter((one) => one.startsWith('sha512-'))
        .map((one) => ({
          alg: 'SHA-512',
          content: Buffer.from(one.slice('sha512-'.length), 'base64').toString('hex'),
        })),
      licenses: license.includes(' ') ? [{ expression: license }] : [{ license: { id: license } }],
      purl,
      ...(resolved === undefined ? {} : { externalReferences: [{ type: 'distribution', url: resolved }] }),
    })),
    dependencies: [...asked]
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([ref, on]) => ({ ref, dependsOn: [...on].sort() })),
  };
}

function licenceTable() {
  const all = described();
  const counts = new Map();
  for (const { license } of all) counts.set(license, (counts.get(license) ?? 0) + 1);
  const sum = [...counts].sort(([a, n], [b, m]) => m - n || (a < b ? -1 : 1)).map(([id, n]) => `${n} ${id}`);
  return `# Licences of what an installation brings

Made from package-lock.json by \`npm run licences\`; a test holds it to that and refuses licences that ask for more than to be named.
${found.size} packages: ${sum.join(', ')}. The map in the report carries cytoscape (MIT) inside the page.

| package | version | licence |
|---|---|---|
${all.map(({ name, version, license }) => `| ${name} | ${version} | ${license} |`).join('\n')}
`;
}
