// Tables of any length: sorted, searched, and only the rows in view in the document.

const WHOLE = 100;
const ROW = 40;
const SPARE = 12;

function cellText(cell) {
  if (cell === null) return ui('not-known');
  if (typeof cell !== 'object') return String(cell);
  if ('s' in cell) return cell.s;
  if ('n' in cell) return N.id[cell.n] ?? '';
  if ('m' in cell) return N.id[cell.m] ?? '';
  if ('e' in cell) return String(cell.e.length);
  return cell.l.join(', ');
}
function cellKey(cell) {
  if (cell === null) return -1;
  if (typeof cell === 'number') return cell;
  if (typeof cell === 'object' && 'b' in cell) return cell.b;
  if (typeof cell === 'object' && 'e' in cell) return cell.e.length;
  const text = cellText(cell);
  return /^\d+(?:\.\d+)?$/.test(text) ? Number(text) : text;
}
function drawCell(cell) {
  if (cell === null) return el('span', { class: 'soft' }, ui('not-known'));
  if (typeof cell === 'string') return bdi(cell);
  if (typeof cell === 'number') return number(cell);
  if ('t' in cell) return tag(cell.t, cell.s);
  if ('n' in cell) return opens(`n:${cell.n}`, bdi(N.id[cell.n] ?? ''));
  if ('m' in cell) return bdi(N.id[cell.m] ?? '');
  if ('e' in cell)
    return cell.e.length === 0
      ? el('span', { class: 'soft' }, ui('none'))
      : opens(`s:${cell.e.slice(0, 500).join(',')}`, counted(cell.e.length, 'flows'));
  if ('l' in cell) {
    if (cell.l.length === 0) return el('span', { class: 'soft' }, ui('none'));
    const more = cell.l.length - 3;
    return el(
      'span',
      null,
      cell.l.slice(0, 3).map((one, index) => [index > 0 ? ', ' : '', bdi(one)]),
      more > 0 ? ` ${ui('and-more', { n: number(more) })}` : '',
    );
  }
  return el(
    'span',
    { class: 'nowrap' },
    el(
      'svg',
      { class: 'bar', viewBox: '0 0 100 10', preserveAspectRatio: 'none', 'aria-hidden': 'true' },
      el('rect', { class: 'c-track', width: 100, height: 10 }),
      el('rect', { class: 'c-mark', width: Math.round(Math.min(1, Math.max(0, cell.b)) * 100), height: 10 }),
    ),
    ' ',
    cell.s,
  );
}
const compare = (a, b) =>
  typeof a === 'number' && typeof b === 'number' ? a - b : String(a) < String(b) ? -1 : String(a) > String(b) ? 1 : 0;

/**
 * A table over `count` rows. `cells(i)` gives a row's cells, `keys(column)` a function from a row to what it is sorted by, `text(i)` what is
 * searched, `open(i)` what a press opens.
 */
function makeTable({ host, id, caption, columns, count, cells, key, text, open }) {
  let order = Array.from({ length: count }, (_, index) => index);
  let sorted = null;
  let query = '';
  let active = 0;
  let base = order;

  const widths = columns.reduce((sum, column) => sum + column.width, 0);
  const tbody = el('tbody');
  const captionEl = el('caption', { id: `t-${id}` }, caption);
  const heads = columns.map((column, index) => {
    const head = el(
      'th',
      { scope: 'col', class: column.number ? 'n' : '', 'aria-sort': 'none' },
      el('button', { type: 'button', class: 'sort' }, column.title),
      // On paper a head stands on every page, and buttons are left out of the repeats.
      el('span', { class: 'print-only' }, column.title),
    );
    head.firstChild.addEventListener('click', () => sortBy(index));
    return head;
  });
  const table = el(
    'table',
    { 'aria-labelledby': `t-${id}` },
    captionEl,
    el(
      'colgroup',
      null,
      columns.map((column) => {
        const col = el('col');
        col.style.width = `${(column.width / widths) * 100}%`;
        return col;
      }),
    ),
    el('thead', null, el('tr', null, heads)),
    tbody,
  );
  const box = el('div', { class: 'scroll tall', role: 'group', 'aria-labelledby': `t-${id}`, tabindex: '0' }, table);
  const status = el('span', { class: 'count', role: 'status' });
  const search = el('input', { type: 'search', id: `q-${id}`, autocomplete: 'off', spellcheck: 'false' });
  const tools = el(
    'div',
    { class: 'filters table-tools' },
    el('div', { class: 'field' }, el('label', { for: `q-${id}` }, ui('search-in')), search),
    status,
  );
  host.replaceChildren(...(count > 12 && text !== undefined ? [tools, box] : [box]));

  const isWhole = () => order.length <= WHOLE;
  const row = (position) => {
    const index = order[position];
    const key = open?.(index);
    const drawn = cells(index).map((cell, column) => {
      const inner = typeof cell === 'object' && cell !== null && cell.nodeType !== undefined ? cell : drawCell(cell);
      if (column > 0) {
        const td = el('td', { class: columns[column].number ? 'n' : undefined }, inner);
        if (!isWhole() && inner.nodeType === 1 && inner.textContent.length > 24) td.title = inner.textContent;
        return td;
      }
      const isButton = inner.tagName === 'BUTTON' || key === undefined;
      return el('th', { scope: 'row' }, isButton ? inner : opens(key, inner));
    });
    const tr = el(
      'tr',
      { 'aria-rowindex': isWhole() ? undefined : position + 2, class: key === undefined ? undefined : 'press' },
      drawn,
    );
    tr.dataset.at = position;
    for (const button of tr.querySelectorAll('button')) button.tabIndex = position === active ? 0 : -1;
    return tr;
  };

  let shown = '';
  function draw(force) {
    if (isWhole()) {
      if (force) tbody.replaceChildren(...order.map((_, position) => row(position)));
      return;
    }
    const top = Math.max(0, Math.floor(box.scrollTop / ROW) - SPARE);
    const end = Math.min(order.length, top + Math.ceil(box.clientHeight / ROW) + 2 * SPARE);
    if (!force && shown === `${top}-${end}`) return;
    shown = `${top}-${end}`;
    const hasFocus = tbody.contains(document.activeElement);
    const pad = (rows) => {
      const tr = el('tr', { class: 'pad', 'aria-hidden': 'true' }, el('td', { colspan: columns.length }));
      tr.firstChild.style.height = `${rows * ROW}px`;
      return tr;
    };
    const rows = [];
    for (let position = top; position < end; position += 1) rows.push(row(position));
    tbody.replaceChildren(pad(top), ...rows, pad(order.length - end));
    if (hasFocus) tbody.querySelector(`tr[data-at="${active}"] button`)?.focus({ preventScroll: true });
  }
  function layout() {
    table.classList.toggle('v-table', !isWhole());
    // Rows that may wrap ask for less than rows of one line.
    table.style.minWidth = `${Math.round(widths * (isWhole() ? 0.56 : 0.74))}rem`;
    if (isWhole()) table.removeAttribute('aria-rowcount');
    else table.setAttribute('aria-rowcount', order.length + 1);
    active = 0;
    draw(true);
  }
  function arrange() {
    order = base;
    if (query !== '' && text !== undefined) order = order.filter((index) => text(index).includes(query));
    if (sorted !== null) {
      const of = key(sorted.column);
      const keyed = order.map((index) => [of(index), index]);
      keyed.sort((a, b) => compare(a[0], b[0]) * sorted.sign || a[1] - b[1]);
      order = keyed.map(([, index]) => index);
    }
    box.scrollTop = 0;
    layout();
    const words =
      order.length === count ? counted(count, 'rows') : ui('rows-of', { n: number(order.length), all: number(count) });
    status.textContent = words;
    return words;
  }
  function sortBy(column) {
    sorted = { column, sign: sorted?.column === column ? -sorted.sign : 1 };
    heads.forEach((head, index) =>
      head.setAttribute('aria-sort', index !== column ? 'none' : sorted.sign > 0 ? 'ascending' : 'descending'),
    );
    arrange();
    say(ui(sorted.sign > 0 ? 'sorted-up' : 'sorted-down', { column: columns[column].title }));
  }
  let timer;
  search.addEventListener('input', () => {
    clearTimeout(timer);
    timer = setTimeout(() => {
      query = search.value.trim().toLowerCase();
      arrange();
    }, 120);
  });
  let frame = 0;
  box.addEventListener('scroll', () => {
    if (frame !== 0) return;
    frame = requestAnimationFrame(() => {
      frame = 0;
      draw(false);
    });
  });
  tbody.addEventListener('click', (event) => {
    const tr = event.target.closest('tr[data-at]');
    if (tr === null) return;
    setActive(Number(tr.dataset.at));
    if (event.target.closest('button, a, details') === null && String(getSelection()) === '')
      tr.querySelector('th button')?.click();
  });
  function setActive(position) {
    active = position;
    for (const tr of tbody.querySelectorAll('tr[data-at]'))
      for (const button of tr.querySelectorAll('button')) button.tabIndex = Number(tr.dataset.at) === active ? 0 : -1;
  }
  tbody.addEventListener('focusin', (event) => {
    const tr = event.target.closest('tr[data-at]');
    if (tr !== null && Number(tr.dataset.at) !== active) setActive(Number(tr.dataset.at));
  });
  const page = () => Math.max(1, Math.floor(box.clientHeight / ROW) - 2);
  const MOVES = {
    ArrowDown: () => 1,
    ArrowUp: () => -1,
    PageDown: () => page(),
    PageUp: () => -page(),
    Home: () => -Infinity,
    End: () => Infinity,
  };
  tbody.addEventListener('keydown', (event) => {
    const move = MOVES[event.key];
    if (move === undefined || event.altKey || event.ctrlKey || event.metaKey || event.target.closest('button') === null)
      return;
    event.preventDefault();
    const next = Math.min(order.length - 1, Math.max(0, active + move()));
    setActive(next);
    if (!isWhole()) {
      const head = table.tHead.offsetHeight;
      const [y, h] = [next * ROW, box.clientHeight - head];
      if (y < box.scrollTop) box.scrollTop = y;
      else if (y + ROW > box.scrollTop + h - 20) box.scrollTop = y + ROW - h + 60;
      draw(true);
    }
    tbody.querySelector(`tr[data-at="${next}"] button`)?.focus();
  });
  return {
    /** Shows these rows, in this order where nothing is sorted. */
    only: (indexes) => {
      base = indexes;
      return arrange();
    },
    redraw: () => draw(true),
    /** For paper: the first rows, all in the document. */
    unroll: (most) => {
      if (isWhole()) return () => {};
      table.classList.remove('v-table');
      const rows = order.slice(0, most).map((_, position) => row(position));
      tbody.replaceChildren(...rows);
      const note =
        order.length > most
          ? el('p', { class: 'small' }, ui('printed', { n: number(most), all: number(order.length) }))
          : null;
      if (note !== null) box.after(note);
      return () => {
        note?.remove();
        table.classList.add('v-table');
        draw(true);
      };
    },
    arrange,
  };
}

const tables = [];

/** Takes over a table that stands in the page with its first rows. Done when it comes near the view: a long page has many. */
function adopt(host) {
  const found = data.tables.find((one) => one.id === host.dataset.table);
  if (found === undefined) return;
  const { id, caption, columns, rows, opens: keys } = found;
  const texts = new Map();
  const made = makeTable({
    host,
    id,
    caption,
    columns,
    count: rows.length,
    cells: (index) => rows[index],
    key: (column) => (index) => cellKey(rows[index][column]),
    text: (index) => {
      let known = texts.get(index);
      if (known === undefined) {
        known = visible(rows[index].map(cellText).join('\n')).toLowerCase();
        texts.set(index, known);
      }
      return known;
    },
    open: keys.length === 0 ? undefined : (index) => keys[index],
  });
  made.arrange();
  tables.push(made);
}
