// Filters: one state for the map and its table, kept in the address so that a view can be passed on.

const OUT_IN = 'in';
const API = 'api';
const NODE = 'node';
const LOST = 'lost';

/** The places of the map: namespaces, and what is in none. */
const places = [];
const placeIndex = new Map();
const placeOf = new Int32Array(NODES);
function place(key, title, kind) {
  const known = placeIndex.get(key);
  if (known !== undefined) return known;
  placeIndex.set(key, places.length);
  places.push({ key, title, kind, nodes: [], stage: -1, plane: -1 });
  return places.length - 1;
}
const calledFromInside = new Uint8Array(NODES);
for (let edge = 0; edge < EDGES; edge += 1) calledFromInside[E.dst[edge]] = 1;
for (let node = 0; node < NODES; node += 1) {
  const kind = N.kind[node];
  const namespace = N.namespace[node];
  let at;
  if (namespace >= 0) at = place(`ns${namespace}`, data.namespaces[namespace], 'ns');
  else if (kind === 'api-server') at = place(API, ui('kind-api-server'), 'inside');
  else if (kind === 'node') at = place(NODE, ui('nodes'), 'inside');
  else if (kind === 'unknown') at = place(LOST, ui('kind-unknown'), 'inside');
  else if (N.group[node] >= 0) at = place(`out${N.group[node]}`, data.groups[N.group[node]], 'out');
  else if (calledFromInside[node] === 1) at = place('out-', ui('outside'), 'out');
  else at = place(OUT_IN, ui('clients'), 'in');
  placeOf[node] = at;
  places[at].nodes.push(node);
}
/** The value that most of them have, the unknown one where it is that of most by far; of several, the one that the place is named after. */
function most(values, list, title) {
  const counts = new Map();
  for (const value of values)
    counts.set(value, (counts.get(value) ?? 0) + (value < 0 || list[value] === 'unknown' ? 0.001 : 1));
  const named = (value) =>
    list[value] !== undefined && list[value].split('-').some((word) => title.includes(word)) ? 1 : 0;
  const known = values.filter((value) => value >= 0 && list[value] !== 'unknown').length;
  if (known < values.length * 0.4 && counts.has(list.indexOf('unknown'))) return list.indexOf('unknown');
  return [...counts].sort((a, b) => b[1] - a[1] || named(b[0]) - named(a[0]) || a[0] - b[0])[0]?.[0] ?? -1;
}
for (const one of places) {
  one.stage = most(
    one.nodes.map((node) => N.stage[node]),
    data.stages,
    one.title,
  );
  one.plane = most(
    one.nodes.map((node) => N.plane[node]),
    data.planes,
    one.title,
  );
}

const FIELDS = [
  'q',
  'ns',
  'stage',
  'plane',
  'tenant',
  'port',
  'mtls',
  'verdict',
  'review',
  'origin',
  'source',
  'days',
  'cross',
];
const form = byId('map-filters');
const inputs = new Map([...form.querySelectorAll('[data-filter]')].map((input) => [input.dataset.filter, input]));
let filter = {};
let openPlaces = new Set();

function readForm() {
  const read = {};
  for (const [key, input] of inputs) if (input.value.trim() !== '') read[key] = input.value.trim();
  return read;
}
function writeForm() {
  for (const [key, input] of inputs) {
    input.value = filter[key] ?? '';
    // A value from an address that the list does not have leaves a select empty.
    if (input.value === '') delete filter[key];
    input.closest('.field').classList.toggle('on', filter[key] !== undefined);
  }
}
function writeAddress() {
  const words = new URLSearchParams();
  for (const key of FIELDS) if (filter[key] !== undefined) words.set(key, filter[key]);
  if (openPlaces.size > 0) words.set('open', [...openPlaces].map((at) => places[at].key).join('.'));
  const text = words.toString();
  history.replaceState(null, '', text === '' ? '#map' : `#map?${text}`);
}
function readAddress() {
  if (!location.hash.startsWith('#map?')) return false;
  const words = new URLSearchParams(location.hash.slice(5));
  filter = {};
  for (const key of FIELDS) if (words.get(key)) filter[key] = words.get(key);
  openPlaces = new Set(
    (words.get('open') ?? '')
      .split('.')
      .map((key) => placeIndex.get(key))
      .filter((at) => at !== undefined),
  );
  return true;
}

let nodeTexts;
const DATA_PLANE = data.planes.indexOf('data');
const CONTROL_PLANE = data.planes.indexOf('control');
const isOutside = (node) => N.kind[node] === 'external';
const CROSS = {
  tenant: (src, dst) => N.tenant[src] >= 0 && N.tenant[dst] >= 0 && N.tenant[src] !== N.tenant[dst],
  control: (src, dst) => N.plane[src] === DATA_PLANE && N.plane[dst] === CONTROL_PLANE,
  stage: (src, dst) => N.kind[src] === 'workload' && N.kind[dst] === 'workload' && N.stage[src] !== N.stage[dst],
  out: (_, dst) => isOutside(dst),
  in: (src) => isOutside(src),
};
const DAYS = {
  0: (days) => days === 0,
  1: (days) => days === 1,
  2: (days) => days >= 2,
  3: (days) => days >= 3,
  7: (days) => days >= 7,
};

/** Positions of the edges that pass the filter, in the order of the data. */
function filtered() {
  const tests = [];
  const either = (key, list) => {
    if (filter[key] === undefined) return;
    const value = Number(filter[key]);
    tests.push((edge) => list[E.src[edge]] === value || list[E.dst[edge]] === value);
  };
  const same = (key, column) => {
    if (filter[key] === undefined) return;
    const value = Number(filter[key]);
    tests.push((edge) => column[edge] === value);
  };
  same('mtls', E.mtls);
  same('verdict', E.verdict);
  same('review', E.review);
  same('origin', E.origin);
  same('source', E.sources);
  if (filter.port !== undefined) {
    const port = Number(filter.port);
    tests.push(
      (edge) => E.port[edge] === port || (E.endPort[edge] !== 0 && E.port[edge] <= port && port <= E.endPort[edge]),
    );
  }
  if (filter.days !== undefined && DAYS[filter.days] !== undefined) {
    const test = DAYS[filter.days];
    tests.push((edge) => test(E.days[edge]));
  }
  either('ns', N.namespace);
  either('stage', N.stage);
  either('plane', N.plane);
  either('tenant', N.tenant);
  if (filter.cross !== undefined && CROSS[filter.cross] !== undefined) {
    const test = CROSS[filter.cross];
    tests.push((edge) => test(E.src[edge], E.dst[edge]));
  }
  if (filter.q !== undefined) {
    nodeTexts ??= N.id.map((id) => visible(id).toLowerCase());
    const words = filter.q.toLowerCase();
    const hit = Uint8Array.from(nodeTexts, (text) => (text.includes(words) ? 1 : 0));
    const hitOperation = Uint8Array.from(data.operations, (text) =>
      visible(text).toLowerCase().includes(words) ? 1 : 0,
    );
    tests.push(
      (edge) =>
        hit[E.src[edge]] === 1 ||
        hit[E.dst[edge]] === 1 ||
        (E.l7[edge] >= 0 && hitOperation[E.l7[edge]] === 1) ||
        E.id[edge] === words,
    );
  }
  const found = [];
  next: for (let edge = 0; edge < EDGES; edge += 1) {
    for (const test of tests) if (!test(edge)) continue next;
    found.push(edge);
  }
  return found;
}

let current = [];
let flowsTable;

const FLOW_COLUMNS = [
  ['source', 17],
  ['destination', 17],
  ['port', 7.5],
  ['encryption', 9.5],
  ['policies-now', 11],
  ['review', 9],
  ['connections', 8.5, true],
  ['days', 4.5, true],
  ['last', 7.5],
];
function makeFlowsTable() {
  const rankOf = (list) => {
    const rank = new Uint32Array(list.length);
    list
      .map((text, index) => [text, index])
      .sort((a, b) => compare(a[0], b[0]))
      .forEach(([, index], at) => (rank[index] = at));
    return rank;
  };
  let ranks;
  const ends = () => (ranks ??= rankOf(N.id));
  const keys = [
    (edge) => ends()[E.src[edge]],
    (edge) => ends()[E.dst[edge]],
    (edge) => E.port[edge],
    (edge) => E.mtls[edge],
    (edge) => E.verdict[edge],
    (edge) => E.review[edge],
    (edge) => E.count[edge],
    (edge) => E.days[edge],
    (edge) => E.last[edge],
  ];
  flowsTable = makeTable({
    host: byId('map-table'),
    id: 'flows',
    caption: ui('flows-caption'),
    columns: FLOW_COLUMNS.map(([key, width, isNumber]) => ({ title: ui(key), width, number: isNumber })),
    count: EDGES,
    cells: (edge) => [
      endText(E.src[edge]),
      endText(E.dst[edge]),
      portText(edge),
      mtlsTag(edge),
      verdictTag(edge),
      reviewTag(edge),
      E.count[edge],
      E.days[edge],
      E.last[edge] === 0 ? ui('never') : instant(E.last[edge]).slice(0, 10),
    ],
    key: (column) => keys[column],
    open: (edge) => `e:${edge}`,
  });
  tables.push(flowsTable);
}

/** Puts the filter into effect: the table, the map, the count, the address. */
function apply(options = {}) {
  writeForm();
  current = filtered();
  flowsTable.only(current);
  const set = Object.keys(filter).length;
  byId('map-count').textContent =
    set === 0
      ? ui('all-flows', { n: number(EDGES) })
      : ui('flows-of', { n: number(current.length), all: number(EDGES) });
  if (options.address !== false) writeAddress();
  mapChanged();
}

/** Sets the filter to these fields alone, and brings the map into view. */
function filterTo(fields) {
  filter = { ...fields };
  closeDrawer();
  apply();
  byId('map').scrollIntoView({ block: 'start' });
  inputs.get(Object.keys(fields)[0])?.focus({ preventScroll: true });
}

let applyTimer;
form.addEventListener('input', (event) => {
  clearTimeout(applyTimer);
  applyTimer = setTimeout(
    () => {
      filter = readForm();
      apply();
    },
    event.target.tagName === 'SELECT' ? 0 : 180,
  );
});
form.addEventListener('submit', (event) => event.preventDefault());
form.addEventListener('reset', () => {
  filter = {};
  setTimeout(() => apply());
});

/** What a box of the map is called: a place, `g<index>`, or one node, `n<index>`. */
function placeTitle(key) {
  const index = Number(key.slice(1));
  return key[0] === 'n' ? endText(index) : places[index].title;
}
