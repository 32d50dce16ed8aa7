// Details of one thing at a time: a workload, a flow, flows between two places, a proposed policy, a namespace's readiness.

const drawer = byId('drawer');
const drawerHead = byId('drawer-h');
const drawerIn = byId('drawer-in');
const drawerBack = byId('drawer-back');
let drawerOpener = null;
let drawerTrail = [];

/** Lists of thousands are not for reading: the rest is counted. */
const LIST = 60;

const opens = (key, ...children) => el('button', { type: 'button', class: 'link', 'data-open': key }, children);
const facts = (rows) =>
  el(
    'dl',
    { class: 'facts' },
    rows.filter((row) => row !== undefined).map(([term, ...values]) => [el('dt', null, term), el('dd', null, values)]),
  );
const listOf = (items) =>
  el(
    'ul',
    null,
    items.map((item) => el('li', null, item)),
  );

function flowLine(edge, from, to) {
  return el(
    'li',
    null,
    opens(
      `e:${edge}`,
      from ? [bdi(endText(E.src[edge])), ' '] : '',
      to ? ['\u2192 ', bdi(endText(E.dst[edge]))] : '',
      ` ${portText(edge)}`,
    ),
    ' ',
    mtlsTag(edge),
    E.verdict[edge] === 0 ? '' : [' ', verdictTag(edge)],
    E.review[edge] === 2 ? [' ', reviewTag(edge)] : '',
  );
}

function flowList(edges, from, to) {
  if (edges.length === 0) return el('p', { class: 'soft' }, ui('none'));
  return [
    el(
      'ul',
      { class: 'flows' },
      edges.slice(0, LIST).map((edge) => flowLine(edge, from, to)),
    ),
    edges.length > LIST ? el('p', { class: 'small soft' }, ui('more-flows', { n: number(edges.length - LIST) })) : '',
  ];
}

function diffText(lines) {
  return el(
    'pre',
    { class: 'diff', tabindex: '0' },
    lines.map((line) =>
      line.startsWith('+')
        ? el('ins', null, line)
        : line.startsWith('-')
          ? el('del', null, line)
          : el('span', null, `${line}\n`),
    ),
  );
}

function policyBody(candidate) {
  const [, , operation, yaml, diff] = candidate;
  return [
    diff.length > 0 ? [el('h4', null, ui('diff')), diffText(diff)] : '',
    yaml === ''
      ? el('p', { class: 'small soft' }, ui('no-yaml'))
      : [
          el(
            'div',
            { class: 'row' },
            el('h4', null, operation === 'create' ? ui('yaml-new') : ui('yaml')),
            el('button', { type: 'button', class: 'btn copy', 'data-copy': yaml }, ui('copy-yaml')),
          ),
          el('pre', { tabindex: '0' }, yaml),
        ],
  ];
}

const SAFE_WORD = /^[\w./:*-]+$/;
/** Commands a person may paste: none where a name in it could mean something to a shell. */
function decisions(edge) {
  const [src, dst] = [N.id[E.src[edge]], N.id[E.dst[edge]]];
  if (!SAFE_WORD.test(src) || !SAFE_WORD.test(dst)) return '';
  const query = `src=${src},dst=${dst},port=${E.port[edge]}`;
  return [
    el('h3', null, ui('decide')),
    el('p', { class: 'small soft' }, ui('decide-adopt')),
    commandLine(`sallyport adopt ${query} --reason "..."`),
    el('p', { class: 'small soft' }, ui('decide-accept')),
    commandLine(`sallyport accept ${query} --reason "..."`),
  ];
}

function edgeDetails(edge) {
  const operation = E.l7[edge] < 0 ? undefined : data.operations[E.l7[edge]];
  const plain = detail().plaintext.find(([index]) => index === edge);
  const allowing = [
    ['ingress', E.ingressCandidate[edge]],
    ['egress', E.egressCandidate[edge]],
    ['principals', E.authorizationCandidate[edge]],
  ].filter(([, index]) => index >= 0);
  return {
    title: [bdi(endText(E.src[edge])), ' \u2192 ', bdi(endText(E.dst[edge]))],
    body: [
      el(
        'p',
        null,
        el('strong', null, portText(edge)),
        operation === undefined ? '' : [' ', el('code', null, operation)],
      ),
      el(
        'div',
        { class: 'row' },
        opens(`n:${E.src[edge]}`, ui('about-caller')),
        opens(`n:${E.dst[edge]}`, ui('about-called')),
      ),
      el('h3', null, ui('evidence')),
      facts([
        [ui('policies-now'), verdictTag(edge), ' ', el('bdi', null, data.reasons[E.decides[edge]] ?? '')],
        [ui('encryption'), mtlsTag(edge)],
        [ui('review'), reviewTag(edge)],
        [ui('connections'), E.count[edge] === 0 ? ui('none-on-record') : number(E.count[edge])],
        E.deniedCount[edge] === 0 ? undefined : [ui('seen-denied'), number(E.deniedCount[edge])],
        [ui('days'), number(E.days[edge])],
        [ui('first'), instant(E.first[edge])],
        [ui('last'), instant(E.last[edge])],
        [ui('known-by'), codeText('origin', E.origin[edge]), ': ', bdi(data.sourceSets[E.sources[edge]] ?? '')],
        [ui('edge-id'), el('code', null, E.id[edge])],
      ]),
      plain === undefined
        ? ''
        : [
            el('h3', null, ui('plaintext')),
            el('p', null, el('bdi', null, plain[1])),
            el('h4', null, ui('what-to-do')),
            adviceLines(plain[2].join('; ')),
          ],
      el('h3', null, ui('allowing')),
      allowing.length === 0
        ? el('p', { class: 'soft' }, ui('no-allowing'))
        : allowing.map(([purpose, index]) => {
            const candidate = detail().candidates[index];
            const rule = candidate[5].find(([, edges]) => edges.includes(edge));
            return el(
              'details',
              { class: 'fold', open: index === allowing[0][1] },
              el('summary', null, el('span', null, ui(`purpose-${purpose}`)), ' ', bdi(candidate[0])),
              el(
                'div',
                { class: 'in' },
                rule === undefined
                  ? ''
                  : el(
                      'p',
                      { class: 'small' },
                      ui('its-rule'),
                      ' ',
                      bdi(rule[0]),
                      rule[2] === null ? '' : [' \u2013 ', el('bdi', null, rule[2])],
                    ),
                policyBody(candidate),
              ),
            );
          }),
      decisions(edge),
    ],
  };
}

function edgesOf(node) {
  const [into, out] = [[], []];
  for (let edge = 0; edge < EDGES; edge += 1) {
    if (E.dst[edge] === node) into.push(edge);
    if (E.src[edge] === node) out.push(edge);
  }
  return [into, out];
}

function riskPart(node) {
  const row = detail().risk.find(([index]) => index === node);
  if (row === undefined) return '';
  const [, rank, score, values] = row;
  const titles = new Map(detail().factors.map(([id, title]) => [id, title]));
  return [
    el('h3', null, ui('risk', { rank: number(rank), score: number(score) })),
    facts(
      [...values]
        .sort((a, b) => b[1] - a[1])
        .map(([factor, points, isKnown, because]) => [
          titles.get(factor) ?? factor,
          el('strong', null, number(points)),
          isKnown === 1 ? '' : [' ', tag('dim', ui('not-known'))],
          ' ',
          el('bdi', { class: 'soft small' }, detail().becauses[because]),
        ]),
    ),
  ];
}

function nodeDetails(node) {
  const [into, out] = edgesOf(node);
  const row = detail().workloads[node];
  const outside = detail().egress.find(([index]) => index === node);
  const place = (list, index) =>
    index >= 0 && list[index] !== undefined ? bdi(list[index]) : el('span', { class: 'soft' }, ui('not-known'));
  const candidates = detail()
    .candidates.map((candidate, index) => [candidate, index])
    .filter(([candidate]) => candidate[6] === N.id[node]);
  return {
    title: bdi(N.label[node]),
    body: [
      el('p', { class: 'mono small' }, bdi(N.id[node])),
      el(
        'div',
        { class: 'row' },
        el('button', { type: 'button', class: 'btn', 'data-map-node': node }, ui('on-map')),
        el('button', { type: 'button', class: 'btn', 'data-map-query': N.id[node] }, ui('only-its-flows')),
      ),
      row === undefined
        ? facts([
            [ui('kind'), ui(`kind-${N.kind[node]}`)],
            outside === undefined ? undefined : [ui('group'), bdi(outside[1])],
            outside === undefined ? undefined : [ui('because'), el('bdi', null, outside[2])],
            outside === undefined || outside[3] === null ? undefined : [ui('range'), bdi(outside[3])],
          ])
        : [
            facts([
              [
                ui('component'),
                bdi(row[0]),
                ' ',
                row[1] === 'strong' ? tag('good', ui('sure')) : tag('dim', ui('a-guess')),
              ],
              [ui('stage'), place(data.stages, N.stage[node])],
              [ui('plane'), place(data.planes, N.plane[node])],
              [ui('tenant'), place(data.tenants, N.tenant[node])],
              [
                ui('handles'),
                N.sensitivity[node].length === 0
                  ? ui('none')
                  : N.sensitivity[node].map((index) => data.sensitivities[index]).join(', '),
              ],
              [ui('mesh'), N.mesh[node]],
              [ui('accounts'), row[4].length === 0 ? ui('none') : bdi(row[4].join(', '))],
              row[5] === null ? undefined : [ui('schedule'), el('code', null, row[5])],
              row[6] === null ? undefined : [ui('managed-by'), bdi(row[6])],
            ]),
            el('h3', null, ui('because')),
            row[2].length === 0
              ? el('p', { class: 'soft' }, ui('nothing-names-it'))
              : listOf(row[2].map((why) => el('bdi', null, why))),
            row[3].length === 0 ? '' : el('p', { class: 'small soft' }, ui('could-be', { list: row[3].join(', ') })),
            riskPart(node),
          ],
      el('h3', null, counted(into.length, 'flows-in')),
      flowList(into, true, false),
      el('h3', null, counted(out.length, 'flows-out')),
      flowList(out, false, true),
      candidates.length === 0
        ? ''
        : [
            el('h3', null, ui('proposed')),
            listOf(candidates.map(([candidate, index]) => opens(`c:${index}`, bdi(candidate[0])))),
          ],
    ],
  };
}

function setDetails(list) {
  return { title: counted(list.length, 'flows'), body: [flowList(list, true, true)] };
}

function candidateDetails(index) {
  const candidate = detail().candidates[index];
  return {
    title: bdi(candidate[0]),
    body: [
      facts([
        [ui('for'), bdi(candidate[6])],
        [ui('purpose'), ui(`purpose-${candidate[1]}`)],
        [ui('against-now'), ui(`operation-${candidate[2]}`)],
      ]),
      el('h3', null, ui('rules')),
      el(
        'ul',
        { class: 'flows' },
        candidate[5]
          .slice(0, LIST)
          .map(([peer, edges, note]) =>
            el(
              'li',
              null,
              bdi(peer),
              ' ',
              edges.length === 0 ? '' : opens(`s:${edges.slice(0, 500).join(',')}`, counted(edges.length, 'flows')),
              note === null ? '' : el('div', { class: 'small soft' }, el('bdi', null, note)),
            ),
          ),
      ),
      candidate[5].length > LIST
        ? el('p', { class: 'small soft' }, ui('more-rules', { n: number(candidate[5].length - LIST) }))
        : '',
      policyBody(candidate),
    ],
  };
}

const STATE_TONE = { reached: 'good', ready: 'good', blocked: 'bad', unknown: 'dim', 'not-judged': 'plain' };
const ANSWER_TONE = { yes: 'good', no: 'bad', unknown: 'dim' };

function gateItem(gate) {
  return el(
    'li',
    { class: 'gate' },
    tag(ANSWER_TONE[gate.answer], ui(`answer-${gate.answer}`)),
    ' ',
    el('strong', null, bdi(gate.id)),
    ' ',
    el('span', { class: 'soft' }, bdi(gate.subject)),
    listOf(gate.facts.map((fact) => el('bdi', null, fact))),
    gate.fix === '' ? '' : [el('p', { class: 'small' }, el('strong', null, ui('fix'))), adviceLines(gate.fix)],
    gate.waived === null ? '' : el('p', { class: 'small' }, ui('waived'), ' ', el('bdi', null, gate.waived)),
  );
}

function readinessDetails(index) {
  const row = detail().readiness[index];
  const judged = (key, list) =>
    list.length === 0
      ? ''
      : el(
          'details',
          { class: 'fold' },
          el('summary', null, counted(list.length, key)),
          el(
            'div',
            { class: 'in' },
            el(
              'ul',
              { class: 'flows' },
              list
                .slice(0, LIST)
                .map((one) =>
                  el(
                    'li',
                    null,
                    opens(`e:${one.edge}`, el('bdi', null, one.text)),
                    el('div', { class: 'small soft' }, el('bdi', null, one.reason)),
                  ),
                ),
            ),
          ),
        );
  return {
    title: bdi(row.namespace),
    body: [
      facts([
        [ui('phase'), row.phase === 'none' ? ui('not-begun') : row.phase],
        [ui('wave'), row.wave === null ? ui('not-known') : number(row.wave)],
        row.tenant === null ? undefined : [ui('tenant'), bdi(row.tenant)],
        [ui('workloads'), number(row.workloads)],
        [ui('isolated'), ui('isolated-value', { in: number(row.isolatedIngress), out: number(row.isolatedEgress) })],
        [ui('in-mesh'), number(row.inMesh)],
        row.system === null ? undefined : [ui('goes-last'), el('bdi', null, row.system)],
      ]),
      row.command === null ? '' : commandLine(row.command),
      el('button', { type: 'button', class: 'btn', 'data-map-ns': row.namespace }, ui('only-its-flows')),
      row.phases.map((phase) => [
        el('h3', null, ui(`phase-${phase.phase}`), ' ', tag(STATE_TONE[phase.state], ui(`state-${phase.state}`))),
        phase.because === '' ? '' : el('p', { class: 'small soft' }, el('bdi', null, phase.because)),
        phase.state === 'reached' || phase.met + phase.open.length + phase.steps === 0
          ? ''
          : el(
              'p',
              { class: 'small soft' },
              ui('gates-met', { met: number(phase.met), open: number(phase.open.length), steps: number(phase.steps) }),
            ),
        phase.open.length === 0 ? '' : el('ul', { class: 'gates' }, phase.open.slice(0, LIST).map(gateItem)),
        phase.open.length > LIST
          ? el('p', { class: 'small soft' }, ui('more-gates', { n: number(phase.open.length - LIST) }))
          : '',
        judged('would-deny', phase.denied),
        judged('not-judged', phase.unknown),
      ]),
    ],
  };
}

/** Flows between two places of the map, by the map's own keys. */
function bundleDetails(key) {
  const edges = bundleEdges(key);
  const ways = new Map();
  for (const edge of edges) ways.set(E.mtls[edge], (ways.get(E.mtls[edge]) ?? 0) + 1);
  const [from, to] = key.split('>').map(placeTitle);
  return {
    title: [bdi(from), ' \u2192 ', bdi(to)],
    body: [
      el(
        'p',
        null,
        counted(edges.length, 'flows'),
        ' ',
        [...ways].map(([code, count]) => [tag(MTLS_TONE[code], `${codeText('mtls', code)}: ${number(count)}`), ' ']),
      ),
      flowList(edges, true, true),
    ],
  };
}

const DETAILS = {
  e: (rest) => edgeDetails(Number(rest)),
  n: (rest) => nodeDetails(Number(rest)),
  s: (rest) => setDetails(rest.split(',').map(Number)),
  c: (rest) => candidateDetails(Number(rest)),
  r: (rest) => readinessDetails(Number(rest)),
  b: (rest) => bundleDetails(rest),
};

function fillDrawer(key) {
  const { title, body } = DETAILS[key[0]](key.slice(2));
  drawerHead.replaceChildren(...[title].flat(Infinity).map(textOr));
  drawerIn.replaceChildren(
    ...[body]
      .flat(Infinity)
      .filter((child) => child !== '')
      .map(textOr),
  );
  drawerBack.hidden = drawerTrail.length < 2;
  drawer.hidden = false;
  drawerIn.scrollTop = 0;
  drawer.scrollTop = 0;
  drawerHead.focus({ preventScroll: true });
}

/** Shows the details of `key`; focus goes there, and back to `opener` on closing. */
function openDrawer(key, opener) {
  if (drawer.hidden) {
    drawerOpener = opener ?? document.activeElement;
    drawerTrail = [];
  }
  if (drawerTrail.at(-1) !== key) drawerTrail.push(key);
  fillDrawer(key);
}

function closeDrawer() {
  if (drawer.hidden) return;
  drawer.hidden = true;
  drawerTrail = [];
  if (drawerOpener?.isConnected) drawerOpener.focus({ preventScroll: true });
  mapClosed();
}

byId('drawer-close').addEventListener('click', closeDrawer);
drawerBack.addEventListener('click', () => {
  drawerTrail.pop();
  fillDrawer(drawerTrail.at(-1));
});
document.addEventListener('keydown', (event) => {
  if (event.key === 'Escape' && !drawer.hidden && document.querySelector('.pop:popover-open') === null) closeDrawer();
});
document.addEventListener('click', (event) => {
  const button = event.target.closest?.('[data-open], [data-copy], [data-map-node], [data-map-query], [data-map-ns]');
  if (button === null || button === undefined) return;
  const { open, copy: text, mapNode, mapQuery, mapNs } = button.dataset;
  if (open !== undefined) openDrawer(open, button);
  else if (text !== undefined) void copy(button, text);
  else if (mapNode !== undefined) showOnMap(Number(mapNode));
  else if (mapQuery !== undefined) filterTo({ q: mapQuery });
  else if (mapNs !== undefined) filterTo({ ns: String(data.namespaces.indexOf(mapNs)) });
});
