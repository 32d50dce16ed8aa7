// The map. Where things stand is computed here, the same each time: stages from left to right, what serves them all below, the outside at the
// sides. The library only draws. A line stands for all flows between two boxes; a namespace opens into its workloads.

const BOX = { w: 164, h: 60, gapX: 30, gapY: 30 };
const CHILD = { w: 152, h: 36, gapX: 52, gap: 16, pad: 16, head: 36 };
const LANE_GAP = 62;
/** More lines than this say nothing to an eye and slow the map down: the strongest are drawn, and the map says so. */
const MOST_LINES = 700;
const CURVED_LINES = 450;
/** Where nearly everything calls nearly everything, still fewer: a box under the pointer or in focus brings all of its own. */
const CROWD = 3000;
const CROWD_LINES = 260;
const MOST_CHILDREN = 300;
const NARROW = 620;
const MOST_ZOOM = 1.15;
const FEW_PLACES = 3;
const FEW_NODES = 40;

let bundles = new Map();
let cy = null;
let boxes = new Map();
let focused = null;
let focusedLine = -1;
/** The lines of what is in focus, in the order in which `[` and `]` walk them; null until somebody does. */
let lineRing = null;
let pressed = null;
let hovered = null;
const mapBox = byId('map-box');
const hint = byId('map-hint');
const look = byId('map-look');

// --- where things stand

const COMMON_STAGES = new Set(['monitoring', 'platform', 'platform-ui', 'scheduling']);

function childGrid(at) {
  const count = Math.min(MOST_CHILDREN, places[at].nodes.length);
  const columns = Math.max(1, Math.min(12, Math.ceil(Math.sqrt(count * 0.42))));
  return { count, columns, rows: Math.max(1, Math.ceil(count / columns)) };
}
function sizeOf(at) {
  if (!openPlaces.has(at)) return { w: BOX.w, h: BOX.h };
  const { columns, rows } = childGrid(at);
  return {
    w: Math.max(BOX.w, columns * CHILD.w + (columns - 1) * CHILD.gapX + 2 * CHILD.pad),
    h: CHILD.head + rows * CHILD.h + (rows - 1) * CHILD.gap + CHILD.pad,
  };
}
/** Boxes in columns of at most `tall`, from `x`, `y`; gives their middle points and the room they took. */
function stack(list, x, y, tall) {
  const spots = [];
  let [left, top, wide, deepest] = [x, y, 0, y];
  let inColumn = 0;
  for (const at of list) {
    const size = sizeOf(at);
    if (inColumn >= tall) {
      left += wide + BOX.gapX;
      [top, wide, inColumn] = [y, 0, 0];
    }
    spots.push([at, left, top, size]);
    wide = Math.max(wide, size.w);
    top += size.h + BOX.gapY;
    deepest = Math.max(deepest, top - BOX.gapY);
    inColumn += 1;
  }
  return { spots, right: left + wide, bottom: deepest };
}
/** Boxes in rows, no wider than `wide`. */
function rows(list, x, y, wide) {
  const spots = [];
  let [left, top, high, right] = [x, y, 0, x];
  for (const at of list) {
    const size = sizeOf(at);
    if (left > x && left + size.w > x + wide) {
      top += high + BOX.gapY + 12;
      [left, high] = [x, 0];
    }
    spots.push([at, left, top, size]);
    left += size.w + BOX.gapX;
    right = Math.max(right, left - BOX.gapX);
    high = Math.max(high, size.h);
  }
  return { spots, right, bottom: top + high };
}
function computeLayout() {
  const byTitle = (a, b) => places[a].plane - places[b].plane || compare(places[a].title, places[b].title);
  const all = places.map((_, at) => at);
  const pipeline = new Map();
  const common = { unknown: [], monitoring: [], platform: [] };
  for (const at of all) {
    const one = places[at];
    if (one.kind === 'in' || one.kind === 'out') continue;
    const stage = data.stages[one.stage] ?? 'unknown';
    const plane = data.planes[one.plane] ?? 'unknown';
    if (one.kind === 'ns' && stage === 'unknown' && plane === 'unknown') common.unknown.push(at);
    else if (one.kind === 'ns' && stage !== 'unknown' && !COMMON_STAGES.has(stage))
      pipeline.set(stage, [...(pipeline.get(stage) ?? []), at]);
    else if (plane === 'monitoring' || stage === 'monitoring') common.monitoring.push(at);
    else common.platform.push(at);
  }
  const clients = all.filter((at) => places[at].kind === 'in');
  const outside = all.filter((at) => places[at].kind === 'out').sort((a, b) => compare(places[a].key, places[b].key));
  const order = data.stageOrder.filter((stage) => pipeline.has(stage));
  if (mapBox.clientWidth < NARROW)
    return layoutDown(
      [
        [ui('from-outside'), clients],
        ...order.map((stage) => [stage, pipeline.get(stage).sort(byTitle)]),
        ...Object.entries(common).map(([name, list]) => [ui(`band-${name}`), list.sort(byTitle)]),
        [ui('to-outside'), outside],
      ].filter(([, list]) => list.length > 0),
    );
  const spots = [];
  const heads = [];
  let x = 0;
  let deepest = BOX.h * 3;
  if (clients.length > 0) {
    const drawn = stack(clients, x, 0, 12);
    spots.push(...drawn.spots);
    heads.push([ui('from-outside'), x]);
    x = drawn.right + LANE_GAP;
    deepest = Math.max(deepest, drawn.bottom);
  }
  const middle = x;
  const total = [...pipeline.values()].reduce((sum, list) => sum + list.length, 0);
  const tall = Math.max(5, Math.ceil(Math.sqrt(total * 0.9)));
  for (const stage of order) {
    const list = pipeline.get(stage).sort(byTitle);
    const drawn = stack(list, x, 0, tall);
    spots.push(...drawn.spots);
    heads.push([stage, x]);
    x = drawn.right + LANE_GAP;
    deepest = Math.max(deepest, drawn.bottom);
  }
  let right = Math.max(x - LANE_GAP, middle + BOX.w * 3);
  let y = deepest + 104;
  const bands = [];
  for (const [name, list] of Object.entries(common)) {
    if (list.length === 0) continue;
    const drawn = rows(list.sort(byTitle), middle, y, Math.max(right - middle, BOX.w * 4));
    spots.push(...drawn.spots);
    bands.push([ui(`band-${name}`), middle, y]);
    right = Math.max(right, drawn.right);
    y = drawn.bottom + 84;
  }
  if (outside.length > 0) {
    const drawn = stack(outside, right + LANE_GAP, 0, 12);
    spots.push(...drawn.spots);
    heads.push([ui('to-outside'), right + LANE_GAP]);
  }
  setBoxes(spots);
  return { heads, bands };
}
/** On a narrow screen the pipeline runs down instead of to the right, two boxes wide. */
function layoutDown(lanes) {
  const spots = [];
  const bands = [];
  let y = 0;
  for (const [title, list] of lanes) {
    const drawn = rows(list, 0, y, BOX.w * 2 + BOX.gapX);
    spots.push(...drawn.spots);
    bands.push([title, 0, y]);
    y = drawn.bottom + 78;
  }
  setBoxes(spots);
  return { heads: [], bands };
}
function setBoxes(spots) {
  boxes = new Map();
  for (const [at, left, top, size] of spots) {
    boxes.set(`g${at}`, {
      key: `g${at}`,
      at,
      x: left + size.w / 2,
      y: top + size.h / 2,
      w: size.w,
      h: size.h,
      open: openPlaces.has(at),
    });
    if (!openPlaces.has(at)) continue;
    const grid = childGrid(at);
    places[at].nodes.slice(0, grid.count).forEach((node, index) => {
      boxes.set(`n${node}`, {
        key: `n${node}`,
        node,
        at,
        x: left + CHILD.pad + (index % grid.columns) * (CHILD.w + CHILD.gapX) + CHILD.w / 2,
        y: top + CHILD.head + Math.floor(index / grid.columns) * (CHILD.h + CHILD.gap) + CHILD.h / 2,
        w: CHILD.w,
        h: CHILD.h,
      });
    });
  }
}

// --- lines

/** Which of several states a line shows: the one that most needs an eye. */
const WORST = { mtls: [3, 0, 1, 2], verdict: [2, 0, 1], review: [1, 2, 0] };
function boxKey(node) {
  const at = placeOf[node];
  return openPlaces.has(at) && boxes.has(`n${node}`) ? `n${node}` : `g${at}`;
}
let boxIds = [];
let boxIndex = new Map();
/** One number for a pair of boxes: 50,000 flows make no strings. */
const bundleKey = (from, to) => from * boxIds.length + to;
function computeBundles() {
  boxIds = [...boxes.keys()];
  boxIndex = new Map(boxIds.map((id, index) => [id, index]));
  const boxOf = new Int32Array(NODES);
  for (let node = 0; node < NODES; node += 1) boxOf[node] = boxIndex.get(boxKey(node));
  bundles = new Map();
  for (const edge of current) {
    const [from, to] = [boxOf[E.src[edge]], boxOf[E.dst[edge]]];
    if (from === to) continue;
    const key = bundleKey(from, to);
    const bundle = bundles.get(key);
    if (bundle === undefined) bundles.set(key, { order: key, from: boxIds[from], to: boxIds[to], edges: [edge] });
    else bundle.edges.push(edge);
  }
}
/** The flows of a line by its name: `box>box`. */
function bundleEdges(name) {
  const [from, to] = name.split('>').map((id) => boxIndex.get(id));
  return bundles.get(bundleKey(from, to))?.edges ?? [];
}
/** Codes as the legend has them: of a line with several kinds of encryption, that it is mixed. */
function stateOf(bundle) {
  const column = E[look.value];
  const seen = new Set(bundle.edges.map((edge) => column[edge]));
  if (seen.size === 1) return [...seen][0];
  if (look.value === 'mtls') return seen.has(1) && !seen.has(0) && !seen.has(2) ? 1 : 2;
  return (look.value === 'verdict' ? [1, 2, 0] : [2, 0, 1]).find((code) => seen.has(code));
}
const LOOKS = {
  mtls: [
    ['good', 'solid'],
    ['s4', 'dashed'],
    ['s3', 'dash-dot'],
    ['rule', 'dotted'],
  ],
  verdict: [
    ['rule', 'solid'],
    ['bad', 'dashed'],
    ['dim', 'dotted'],
  ],
  review: [
    ['s3', 'dashed'],
    ['good', 'solid'],
    ['bad', 'dotted'],
  ],
};
const DASHES = { solid: [1, 0], dashed: [7, 5], 'dash-dot': [12, 4, 2, 4], dotted: [2, 5] };

/** Out of the side of one box and into the side of the other; where they stand above each other, round by the right. */
function curve(from, to) {
  const [dx, dy] = [to.x - from.x, to.y - from.y];
  const squared = dx * dx + dy * dy || 1;
  const length = Math.sqrt(squared);
  const gap = Math.abs(dx) - from.w / 2 - to.w / 2;
  const sign = Math.sign(dx) || 1;
  const points =
    gap >= 8
      ? [
          [sign * (from.w / 2 + gap / 2), 0],
          [dx - sign * (to.w / 2 + gap / 2), dy],
        ]
      : [
          [Math.max(from.w / 2, dx + to.w / 2) + 34, dy * 0.15],
          [Math.max(from.w / 2, dx + to.w / 2) + 34, dy * 0.85],
        ];
  // A little to one side, so that the two directions of a pair are two lines.
  const aside = gap >= 8 ? Math.min(9, from.h / 4) : 0;
  return {
    weights: points.map(([px, py]) => Math.round(((px * dx + py * dy) / squared) * 1000) / 1000),
    distances: points.map(([px, py]) => Math.round(((py * dx - px * dy) / length - aside) * 10) / 10),
  };
}

// --- drawing

let colours = {};
function readColours() {
  const probe = el('span', { class: 'hush' });
  document.body.append(probe);
  const read = (name) => {
    probe.style.color = `var(--${name})`;
    return getComputedStyle(probe).color;
  };
  colours = {};
  for (const name of [
    'ink',
    'soft',
    'card',
    'paper',
    'line',
    'rule',
    'sunk',
    'mark',
    'mark-bg',
    'good',
    'warn',
    'bad',
    'dim',
    's1',
    's2',
    's3',
    's4',
    's5',
    's6',
    's7',
    'focus',
  ])
    colours[name] = read(name);
  probe.remove();
}
const FONT = getComputedStyle(document.body).fontFamily;
function mapStyle() {
  const c = colours;
  return [
    {
      selector: 'node',
      style: {
        shape: 'round-rectangle',
        width: 'data(w)',
        height: 'data(h)',
        label: 'data(label)',
        'font-family': FONT,
        'font-size': 14.5,
        color: c.ink,
        'text-valign': 'center',
        'text-halign': 'center',
        'text-wrap': 'wrap',
        'text-max-width': 'data(tw)',
        'background-color': c.card,
        'border-width': 1.5,
        'border-color': c.rule,
        'overlay-opacity': 0,
        'line-height': 1.25,
      },
    },
    { selector: '*', style: { 'z-index-compare': 'manual' } },
    { selector: 'node.place', style: { 'border-width': 2, 'border-color': 'data(hue)', 'z-index': 5 } },
    { selector: 'node.place.outside', style: { 'background-color': c.sunk, 'border-style': 'dashed' } },
    {
      selector: 'node.open',
      style: {
        'background-color': c.sunk,
        'background-opacity': 0.75,
        'text-valign': 'top',
        'text-margin-y': 26,
        'z-index': 1,
        'font-size': 15,
        'font-weight': 600,
      },
    },
    {
      selector: 'node.child',
      style: { 'z-index': 6, 'font-size': 12.5, 'border-width': 1.2, 'text-wrap': 'ellipsis' },
    },
    {
      selector: 'node.child[?sensitive]',
      style: { 'border-width': 2.5, 'border-style': 'double', 'border-color': c.s5 },
    },
    {
      selector: 'node.head',
      style: {
        shape: 'rectangle',
        'background-opacity': 0,
        'border-width': 0,
        'font-size': 16,
        color: c.soft,
        'text-halign': 'right',
        'text-valign': 'center',
        'text-wrap': 'none',
        events: 'no',
        'text-margin-x': 0,
        width: 1,
        height: 1,
      },
    },
    {
      selector: 'edge',
      style: {
        'line-color': 'data(colour)',
        'target-arrow-color': 'data(colour)',
        'target-arrow-shape': 'triangle',
        'arrow-scale': 0.9,
        width: 'data(width)',
        'line-style': 'dashed',
        'line-dash-pattern': 'data(dash)',
        'line-cap': 'butt',
        opacity: 0.72,
        'overlay-opacity': 0,
        'curve-style': 'straight',
        'z-index': 3,
        'source-distance-from-node': 2,
        'target-distance-from-node': 2,
      },
    },
    {
      selector: 'edge[?curved]',
      style: {
        'curve-style': 'unbundled-bezier',
        'control-point-distances': 'data(distances)',
        'control-point-weights': 'data(weights)',
        'edge-distances': 'node-position',
      },
    },
    { selector: 'edge[?solid]', style: { 'line-style': 'solid' } },
    { selector: 'edge[?stopped]', style: { 'target-arrow-shape': 'tee' } },
    { selector: '.far', style: { opacity: 0.14 } },
    { selector: 'node.far', style: { opacity: 0.32 } },
    { selector: 'edge.near', style: { opacity: 1, 'z-index': 4 } },
    { selector: 'node.focus', style: { 'border-color': c.focus, 'border-width': 4, 'z-index': 10, opacity: 1 } },
    {
      selector: 'edge.focus',
      style: {
        'line-color': c.focus,
        'target-arrow-color': c.focus,
        opacity: 1,
        'z-index': 20,
        label: 'data(label)',
        'font-family': FONT,
        'font-size': 12,
        color: c.ink,
        'text-background-color': c.card,
        'text-background-opacity': 1,
        'text-background-padding': 4,
        'text-border-width': 1,
        'text-border-color': c.rule,
        'text-border-opacity': 1,
      },
    },
  ];
}

const short = (text, most) => {
  const seen = visible(text);
  return seen.length > most ? `${seen.slice(0, most - 1)}\u2026` : seen;
};
const STAGE_HUES = 6;
function stageColour(stage) {
  const name = data.stages[stage];
  if (name === undefined || name === 'unknown' || COMMON_STAGES.has(name)) return colours.s7;
  return colours[`s${(data.stageOrder.indexOf(name) % STAGE_HUES) + 1}`];
}

function boxElement(box) {
  const one = places[box.at];
  if (box.node !== undefined) {
    const lock = N.mesh[box.node] === 'sidecar' || N.mesh[box.node] === 'ambient' ? ' \u25c6' : '';
    return {
      data: {
        id: box.key,
        label: short(N.label[box.node], 22) + lock,
        w: box.w,
        h: box.h,
        tw: box.w - 14,
        sensitive: N.sensitivity[box.node].length > 0,
      },
      position: { x: box.x, y: box.y },
      classes: 'child',
    };
  }
  const count = one.nodes.length;
  const words = one.kind === 'ns' ? counted(count, 'n-workloads') : counted(count, 'n-ends');
  return {
    data: {
      id: box.key,
      label: box.open ? `\u25be ${short(one.title, 40)}` : `\u25b8 ${short(one.title, 17)}\n${words}`,
      w: box.w,
      h: box.h,
      tw: box.w - 12,
      hue: one.kind === 'ns' ? stageColour(one.stage) : colours.rule,
    },
    position: { x: box.x, y: box.y },
    classes: `place${box.open ? ' open' : ''}${one.kind === 'ns' ? '' : ' outside'}`,
  };
}
function headElement(text, x, y, index) {
  return {
    data: { id: `h${index}`, label: short(text, 40), w: 1, h: 1, tw: 400 },
    position: { x, y },
    classes: 'head',
    grabbable: false,
    selectable: false,
  };
}

let shownLines = 0;
const lineLimit = () => (bundles.size > CROWD ? CROWD_LINES : MOST_LINES);
function lineElements() {
  const all = [...bundles.values()].sort((a, b) => b.edges.length - a.edges.length || a.order - b.order);
  // Lines of what has been opened, or is looked at, come first: that is what was asked for.
  const looked = hovered ?? focused;
  const isNear = (one) => one.from[0] === 'n' || one.to[0] === 'n' || one.from === looked || one.to === looked;
  const most = lineLimit();
  const near = all.length <= most ? all : all.filter(isNear).slice(0, MOST_LINES);
  const chosen =
    all.length <= most
      ? all
      : [...near, ...all.filter((one) => !isNear(one)).slice(0, Math.max(0, most - near.length))];
  shownLines = chosen.length;
  return chosen.map((bundle) => {
    const state = stateOf(bundle);
    const [colour, dash] = LOOKS[look.value][state];
    const isCurved = chosen.length <= CURVED_LINES;
    const { weights, distances } = isCurved
      ? curve(boxes.get(bundle.from), boxes.get(bundle.to))
      : { weights: [0.5], distances: [0] };
    return {
      data: {
        id: `${bundle.from}>${bundle.to}`,
        source: bundle.from,
        target: bundle.to,
        colour: colours[colour],
        dash: DASHES[dash],
        solid: dash === 'solid',
        width: Math.min(7, 1.1 + Math.log2(bundle.edges.length + 1) * 0.75),
        curved: isCurved,
        weights,
        distances,
        stopped: (look.value === 'verdict' && state === 1) || (look.value === 'review' && state === 2),
        label: counted(bundle.edges.length, 'flows'),
      },
    };
  });
}

function drawLegend() {
  byId('map-legend').replaceChildren(
    ...LOOKS[look.value].map(([colour, dash], code) => {
      const line = el('line', {
        x1: 2,
        y1: 7,
        x2: 34,
        y2: 7,
        'stroke-width': 3,
        'stroke-dasharray': dash === 'solid' ? undefined : DASHES[dash].join(' '),
      });
      line.style.stroke = `var(--${colour})`;
      return el(
        'li',
        null,
        el('svg', { viewBox: '0 0 36 14', 'aria-hidden': 'true' }, line),
        codeText(look.value, code),
      );
    }),
    el('li', null, ui('legend-width')),
    el('li', null, ui('legend-mesh')),
  );
}

/** What stands on the map, by id, with the words that drew it: only what differs is drawn anew. */
const drawnBoxes = new Map();
const drawnLines = new Map();
/** Lines are put on the map so many in a turn, so that the page answers in between. */
const LINES_A_TURN = 80;
let waitingLines = [];
let linesTimer;

function forget(ids) {
  for (const id of ids) drawnBoxes.delete(id);
  // A line goes with either of its ends.
  for (const id of drawnLines.keys()) if (id.split('>').some((end) => ids.has(end))) drawnLines.delete(id);
}
function putBoxes(wanted) {
  const ids = new Set(wanted.map((one) => one.data.id));
  const gone = new Set([...drawnBoxes.keys()].filter((id) => !ids.has(id)));
  const fresh = [];
  cy.batch(() => {
    for (const id of gone) cy.getElementById(id).remove();
    forget(gone);
    for (const one of wanted) {
      const { id } = one.data;
      const known = drawnBoxes.get(id);
      const words = JSON.stringify([one.data, one.classes]);
      drawnBoxes.set(id, words);
      if (known === undefined) {
        fresh.push(one);
        continue;
      }
      const box = cy.getElementById(id);
      if (known !== words) box.data(one.data).classes(one.classes);
      const { x, y } = box.position();
      if (x !== one.position.x || y !== one.position.y) box.position(one.position);
    }
    cy.add(fresh);
  });
}
function putSomeLines(count) {
  const part = waitingLines.splice(0, count);
  const fresh = [];
  const touched = cy.collection();
  cy.batch(() => {
    for (const { line, words } of part) {
      const { id } = line.data;
      if (drawnLines.has(id)) touched.merge(cy.getElementById(id).data(line.data));
      else fresh.push(line);
      drawnLines.set(id, words);
    }
    touched.merge(cy.add(fresh));
  });
  mark(touched);
  if (waitingLines.length > 0) linesTimer = setTimeout(() => putSomeLines(LINES_A_TURN));
}
/** All lines that should be there and are not yet, in turns unless they are needed at once. */
function putLines(isNeeded = false) {
  clearTimeout(linesTimer);
  const wanted = lineElements().map((line) => ({ line, words: JSON.stringify(line.data) }));
  const ids = new Set(wanted.map(({ line }) => line.data.id));
  cy.batch(() => {
    for (const id of [...drawnLines.keys()]) {
      if (ids.has(id)) continue;
      cy.getElementById(id).remove();
      drawnLines.delete(id);
    }
  });
  waitingLines = wanted.filter(({ line, words }) => drawnLines.get(line.data.id) !== words);
  if (isNeeded) finishLines();
  else if (waitingLines.length > 0) linesTimer = setTimeout(() => putSomeLines(LINES_A_TURN));
}
function finishLines() {
  clearTimeout(linesTimer);
  if (waitingLines.length > 0) putSomeLines(waitingLines.length);
}

/** Draws what has changed. What was in view stays where it was on the screen if `keep` names it. */
function drawMap(keep, isNeeded = false) {
  if (cy === null) return;
  const before = keep === undefined ? undefined : cy.getElementById(keep);
  const anchor = before !== undefined && before.length > 0 ? before.renderedPosition() : undefined;
  const { heads, bands } = computeLayout();
  computeBundles();
  putBoxes([
    ...[...boxes.values()].map(boxElement),
    ...heads.map(([text, x], index) => headElement(text, x, -34, index)),
    ...bands.map(([text, x, y], index) => headElement(text, x, y - 30, heads.length + index)),
  ]);
  if (focused !== null && !boxes.has(focused)) focused = null;
  lineRing = null;
  if (anchor !== undefined && boxes.has(keep)) {
    const now = cy.getElementById(keep).renderedPosition();
    cy.panBy({ x: anchor.x - now.x, y: anchor.y - now.y });
  }
  drawLegend();
  putLines(isNeeded);
  markNear();
}

/** Only the lines: for filters, which leave the boxes where they are. */
function drawLines() {
  if (cy === null) return;
  computeBundles();
  lineRing = null;
  putLines();
  markNear();
}

/** Which of its marks something on the map should bear: it is out of the filter, beside what is looked at, or in focus. */
function marks() {
  const isFiltered = Object.keys(filter).length > 0;
  const touched = new Set();
  if (isFiltered)
    for (const edge of current) {
      touched.add(boxKey(E.src[edge])).add(boxKey(E.dst[edge]));
      touched.add(`g${placeOf[E.src[edge]]}`).add(`g${placeOf[E.dst[edge]]}`);
    }
  const line = focusedLine >= 0 ? lineRing?.[focusedLine] : undefined;
  const looked = hovered ?? focused;
  const box = looked === null ? undefined : boxes.get(looked);
  const isAll = box !== undefined && openPlaces.has(box.at) && looked[0] === 'g';
  const isNear = (id) => (isAll ? boxes.get(id)?.at === box.at : id === looked);
  return (one) => {
    const id = one.id();
    const focus = id === focused || id === line || id === pressed;
    if (one.isNode()) return { far: isFiltered && !one.hasClass('head') && !touched.has(id), near: false, focus };
    const near = box !== undefined && (isNear(one.data('source')) || isNear(one.data('target')));
    return { far: box !== undefined && !near, near, focus };
  };
}
function mark(elements, marksOf = marks()) {
  cy.batch(() =>
    elements.forEach((one) => {
      for (const [name, isMarked] of Object.entries(marksOf(one)))
        if (one.hasClass(name) !== isMarked) one.toggleClass(name, isMarked);
    }),
  );
}
function markNear() {
  mark(cy.elements());
  const hidden = bundles.size - shownLines;
  hint.textContent =
    hidden > 0 ? ui('lines-hidden', { drawn: number(shownLines), all: number(bundles.size) }) : ui('map-hint');
}

function fit() {
  if (cy !== null) cy.fit(cy.elements(), 26);
  // A cluster too wide to be read at a glance opens at a size that can be read.
  if (cy !== null && cy.zoom() > MOST_ZOOM) {
    cy.zoom(MOST_ZOOM);
    cy.center();
  }
}

function toggle(at) {
  if (openPlaces.has(at)) openPlaces.delete(at);
  else openPlaces.add(at);
  focusedLine = -1;
  drawMap(`g${at}`);
  setTimeout(writeAddress);
  const one = places[at];
  say(
    openPlaces.has(at)
      ? ui('opened', { name: one.title, n: number(one.nodes.length) })
      : ui('closed', { name: one.title }),
  );
}

function boxText(key) {
  const box = boxes.get(key);
  let [into, out] = [0, 0];
  for (const bundle of bundles.values()) {
    if (bundle.to === key) into += bundle.edges.length;
    if (bundle.from === key) out += bundle.edges.length;
  }
  const one = places[box.at];
  const name =
    box.node === undefined
      ? `${one.title}, ${counted(one.nodes.length, one.kind === 'ns' ? 'n-workloads' : 'n-ends')}, ${ui(box.open ? 'is-open' : 'is-closed')}`
      : `${N.id[box.node]}, ${data.stages[N.stage[box.node]] ?? ''}`;
  return `${name}; ${counted(into, 'flows-in')}, ${counted(out, 'flows-out')}`;
}

/** The lines of what is looked at come forward, and are drawn if they were left out. */
function lookAt() {
  if (bundles.size > lineLimit()) drawLines();
  else markNear();
}

function focusBox(key, options = {}) {
  focused = key;
  focusedLine = -1;
  pressed = null;
  lookAt();
  lineRing = null;
  const box = cy.getElementById(key);
  const spot = box.renderedBoundingBox({ includeLabels: false });
  if (options.center || spot.x1 < 0 || spot.y1 < 0 || spot.x2 > cy.width() || spot.y2 > cy.height()) {
    if (options.center && cy.zoom() < 0.6) cy.zoom(0.85);
    cy.center(box);
  }
  say(boxText(key));
}

function move(dx, dy) {
  if (focused === null) {
    const first =
      [...boxes.values()]
        .filter((box) => box.node === undefined && places[box.at].kind === 'ns')
        .sort((a, b) => a.x - b.x || a.y - b.y)[0] ?? boxes.values().next().value;
    if (first !== undefined) focusBox(first.key);
    return;
  }
  const from = boxes.get(focused);
  let best;
  for (const box of boxes.values()) {
    if (box.key === focused || (box.open && box.at === from.at && from.node !== undefined && dy >= 0)) continue;
    const [ax, ay] = [box.x - from.x, box.y - from.y];
    const along = ax * dx + ay * dy;
    if (along < 12) continue;
    const across = Math.abs(ax * dy) + Math.abs(ay * dx);
    const cost = along + across * 2.2;
    if (best === undefined || cost < best.cost) best = { cost, key: box.key };
  }
  if (best === undefined) say(ui('edge-of-map'));
  else focusBox(best.key);
}

function step(by) {
  if (focused !== null && lineRing === null) {
    finishLines();
    lineRing = cy.edges('.near').map((one) => one.id());
  }
  if (focused === null || lineRing.length === 0) {
    say(ui('no-lines'));
    return;
  }
  focusedLine = (focusedLine + by + lineRing.length) % lineRing.length;
  markNear();
  const [from, to] = lineRing[focusedLine].split('>');
  say(
    ui('line', {
      at: number(focusedLine + 1),
      of: number(lineRing.length),
      from: placeTitle(from),
      to: placeTitle(to),
      flows: counted(bundleEdges(lineRing[focusedLine]).length, 'flows'),
    }),
  );
}

/** Details of a line: of its one flow, or of all of them. */
function openLine(key) {
  pressed = key;
  markNear();
  const edges = bundleEdges(key);
  openDrawer(edges.length === 1 ? `e:${edges[0]}` : `b:${key}`, mapBox);
}
function openBox(key) {
  const box = boxes.get(key);
  if (box.node !== undefined) openDrawer(`n:${box.node}`, mapBox);
  else {
    const edges = current.filter((edge) => placeOf[E.src[edge]] === box.at || placeOf[E.dst[edge]] === box.at);
    const row =
      places[box.at].kind === 'ns' ? detail().readiness.findIndex((one) => one.namespace === places[box.at].title) : -1;
    openDrawer(row >= 0 ? `r:${row}` : `s:${edges.slice(0, 500).join(',')}`, mapBox);
  }
}

let changeTimer;
/** A filter has changed. The table and the count come first; the lines follow once the page has answered. */
function mapChanged() {
  if (cy === null) return;
  focusedLine = -1;
  clearTimeout(changeTimer);
  changeTimer = setTimeout(drawLines, 16);
}
/** Details were closed. */
function mapClosed() {
  if (cy === null || pressed === null) return;
  pressed = null;
  markNear();
}
function showOnMap(node) {
  closeDrawer();
  startMap();
  const at = placeOf[node];
  if (!openPlaces.has(at)) toggle(at);
  byId('map').scrollIntoView({ block: 'start' });
  mapBox.focus({ preventScroll: true });
  focusBox(boxKey(node), { center: true });
}

const KEYS = {
  ArrowLeft: () => move(-1, 0),
  ArrowRight: () => move(1, 0),
  ArrowUp: () => move(0, -1),
  ArrowDown: () => move(0, 1),
  ']': () => step(1),
  '[': () => step(-1),
  '+': () => zoom(1.25),
  '=': () => zoom(1.25),
  '-': () => zoom(0.8),
  0: () => fit(),
  i: () => focused !== null && openBox(focused),
  Enter: () => {
    if (focusedLine >= 0) openLine(lineRing[focusedLine]);
    else if (focused === null) move(1, 0);
    else if (boxes.get(focused).node === undefined) toggle(boxes.get(focused).at);
    else openBox(focused);
  },
  Escape: () => {
    focusedLine = -1;
    focused = null;
    pressed = null;
    markNear();
  },
};
KEYS[' '] = KEYS.Enter;
function zoom(by) {
  cy.zoom({ level: cy.zoom() * by, renderedPosition: { x: cy.width() / 2, y: cy.height() / 2 } });
}

function startMap(isFirst = false) {
  if (cy !== null) return;
  readColours();
  byId('map-stage').hidden = false;
  byId('map-legend').hidden = false;
  // What it cannot draw for a moment, while boxes move, is no fault of the reader's.
  window.cytoscape.warnings(false);
  cy = window.cytoscape({
    container: mapBox,
    style: mapStyle(),
    layout: { name: 'preset' },
    minZoom: 0.05,
    maxZoom: 3,
    // The page scrolls; the map zooms once it has been entered, or with a key held down.
    userZoomingEnabled: false,
    boxSelectionEnabled: false,
    autoungrabify: true,
    autounselectify: true,
    textureOnViewport: EDGES > 4000,
    hideEdgesOnViewport: false,
    pixelRatio: Math.min(2, window.devicePixelRatio || 1),
  });
  // A cluster that fits on the screen is shown with its workloads.
  if (
    isFirst &&
    openPlaces.size === 0 &&
    places.filter((one) => one.kind === 'ns').length <= FEW_PLACES &&
    NODES <= FEW_NODES
  )
    openPlaces = new Set(places.flatMap((one, at) => (one.kind === 'ns' ? [at] : [])));
  computeLayout();
  computeBundles();
  // Curved lines reach beyond the boxes: there the lines count for what fits.
  drawMap(undefined, bundles.size <= CURVED_LINES);
  const extent = cy.elements().boundingBox();
  // As high as what is drawn asks for at this width, within what a screen can show.
  mapBox.style.height = `${Math.round(Math.min(Math.max(340, extent.h * Math.min(MOST_ZOOM, (mapBox.clientWidth - 52) / extent.w) + 56), Math.max(340, mapBox.clientWidth < NARROW ? 1500 : innerHeight * 0.78)))}px`;
  // A finger that moves over a map as wide as the screen means the page.
  cy.userPanningEnabled(mapBox.clientWidth >= NARROW);
  cy.resize();
  fit();
  for (const canvas of mapBox.querySelectorAll('canvas')) canvas.setAttribute('aria-hidden', 'true');
  cy.on('tap', 'node.place', (event) => {
    focused = event.target.id();
    toggle(boxes.get(focused).at);
  });
  cy.on('tap', 'node.child', (event) => {
    focusBox(event.target.id());
    openBox(event.target.id());
  });
  cy.on('tap', 'edge', (event) => openLine(event.target.id()));
  cy.on('tap', (event) => event.target === cy && KEYS.Escape());
  cy.on('mouseover', 'node.place, node.child, edge', () => (mapBox.style.cursor = 'pointer'));
  cy.on('mouseout', 'node, edge', () => (mapBox.style.cursor = ''));
  // The library remembers where the map stands on the screen, and is not told when what is above grows or folds.
  for (const type of ['pointerdown', 'pointermove', 'mousedown', 'touchstart'])
    mapBox.addEventListener(type, () => cy.renderer().invalidateContainerClientCoordsCache(), {
      capture: true,
      passive: true,
    });
  let hoverTimer;
  const hover = (key) => {
    clearTimeout(hoverTimer);
    hoverTimer = setTimeout(() => {
      if (hovered === key) return;
      hovered = key;
      lookAt();
    }, 90);
  };
  cy.on('mouseover', 'node.place, node.child', (event) => hover(event.target.id()));
  cy.on('mouseout', 'node.place, node.child', () => hover(null));
  mapBox.addEventListener('keydown', (event) => {
    const act = KEYS[event.key];
    if (act === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === 'Escape' && (!drawer.hidden || focused === null)) return;
    event.preventDefault();
    act();
  });
  mapBox.addEventListener(
    'wheel',
    (event) => {
      if (!event.ctrlKey && !event.metaKey && document.activeElement !== mapBox) return;
      event.preventDefault();
      const area = mapBox.getBoundingClientRect();
      cy.zoom({
        level: cy.zoom() * Math.exp(-Math.sign(event.deltaY) * 0.12),
        renderedPosition: { x: event.clientX - area.left, y: event.clientY - area.top },
      });
    },
    { passive: false },
  );
  byId('map-in').addEventListener('click', () => zoom(1.25));
  byId('map-out').addEventListener('click', () => zoom(0.8));
  byId('map-fit').addEventListener('click', fit);
  byId('map-fold').addEventListener('click', () => {
    openPlaces.clear();
    focused = null;
    drawMap();
    fit();
    setTimeout(writeAddress);
  });
  look.addEventListener('change', () => {
    drawLines();
    drawLegend();
  });
  let width = mapBox.clientWidth;
  new ResizeObserver(() => {
    cy.resize();
    if (mapBox.clientWidth < NARROW !== width < NARROW) drawMap();
    if (Math.abs(mapBox.clientWidth - width) > 40) fit();
    width = mapBox.clientWidth;
  }).observe(mapBox);
}

function recolour(isNeeded = false) {
  if (cy === null) return;
  readColours();
  cy.style(mapStyle());
  drawMap(focused ?? undefined, isNeeded);
}
