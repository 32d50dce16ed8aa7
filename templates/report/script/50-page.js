// The frame: contents, colours, paper, and the order in which things wake up.

const root = document.documentElement;

// --- colours
const THEMES = ['auto', 'light', 'dark'];
const themeButton = byId('theme');
function setTheme(theme) {
  if (theme === 'auto') delete root.dataset.theme;
  else root.dataset.theme = theme;
  byId('theme-word').textContent = ui(`theme-${theme}`);
  recolour();
}
if (themeButton !== null) {
  themeButton.hidden = false;
  themeButton.addEventListener('click', () => {
    const next = THEMES[(THEMES.indexOf(root.dataset.theme ?? 'auto') + 1) % THEMES.length];
    setTheme(next);
    say(ui(`theme-${next}`));
  });
}
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => recolour());

// --- sources of figures: beside their button, in view
document.addEventListener(
  'toggle',
  (event) => {
    const pop = event.target;
    if (!pop.classList?.contains('pop') || event.newState !== 'open') return;
    const button =
      document.activeElement?.getAttribute('popovertarget') === pop.id
        ? document.activeElement
        : document.querySelector(`[popovertarget="${pop.id}"]`);
    if (button === null) return;
    const [at, size] = [button.getBoundingClientRect(), pop.getBoundingClientRect()];
    pop.style.left = `${Math.max(12, Math.min(at.left, innerWidth - size.width - 12))}px`;
    pop.style.top = `${at.bottom + 8 + size.height > innerHeight ? Math.max(12, at.top - size.height - 8) : at.bottom + 8}px`;
  },
  true,
);
// A source that stays while the page moves away under it belongs to nothing.
addEventListener('scroll', () => document.querySelector('.pop:popover-open')?.hidePopover(), { passive: true });

// --- contents
const contents = byId('contents');
const wideEnough = matchMedia('(min-width: 1080px)');
const foldContents = () => {
  if (contents !== null) contents.open = wideEnough.matches;
};
foldContents();
wideEnough.addEventListener('change', foldContents);
const links = new Map(
  [...document.querySelectorAll('.side a[href^="#"]')].map((link) => [link.getAttribute('href').slice(1), link]),
);
const inView = new Set();
const watcher = new IntersectionObserver(
  (entries) => {
    for (const { target, isIntersecting } of entries) {
      if (isIntersecting) inView.add(target.id);
      else inView.delete(target.id);
    }
    const first = [...links.keys()].find((id) => inView.has(id));
    for (const [id, link] of links) {
      if (id === first) link.setAttribute('aria-current', 'true');
      else link.removeAttribute('aria-current');
    }
  },
  { rootMargin: '-15% 0px -60% 0px' },
);
for (const id of links.keys()) if (byId(id) !== null) watcher.observe(byId(id));
contents?.addEventListener('click', (event) => {
  if (event.target.closest('a') !== null && !wideEnough.matches) contents.open = false;
});

// --- paper
const PRINTED_ROWS = 100;
let undo = [];
addEventListener('beforeprint', () => {
  adoptAll();
  startMap();
  const theme = root.dataset.theme;
  root.dataset.theme = 'light';
  recolour(true);
  const picture = el('img', { alt: ui('printed-map') });
  picture.src = cy.png({ full: true, bg: '#ffffff', maxWidth: 2200, maxHeight: 2600, scale: 2 });
  byId('map-print').replaceChildren(picture, el('figcaption', null, ui('printed-map')));
  // Text hidden behind a press is part of the document; texts of policies and sources of tables are not.
  const closed = [...document.querySelectorAll('main details:not([open]):not(.prov):not(#map-help)')];
  for (const one of closed) one.open = true;
  undo = [
    ...tables.map((table) => table.unroll(PRINTED_ROWS)),
    () => {
      for (const one of closed) one.open = false;
    },
    () => {
      if (theme === undefined) delete root.dataset.theme;
      else root.dataset.theme = theme;
      recolour();
    },
  ];
});
addEventListener('afterprint', () => {
  for (const one of undo.reverse()) one();
  undo = [];
});
const printButton = byId('print');
if (printButton !== null) {
  printButton.hidden = false;
  printButton.addEventListener('click', () => print());
}

// --- waking up: what is read first comes first, and each table in a turn of its own, so that nothing waits for all of them
const waiting = [...document.querySelectorAll('[data-table]')];
function adoptAll() {
  while (waiting.length > 0) adopt(waiting.shift());
}
const later = window.requestIdleCallback ?? ((act) => setTimeout(act, 1));
function adoptNext() {
  if (waiting.length === 0) {
    root.dataset.ready = 'all';
    performance.mark('sallyport-all');
    return;
  }
  adopt(waiting.shift());
  later(adoptNext);
}

form.hidden = false;
const hadFilter = readAddress();
makeFlowsTable();
apply({ address: false });
performance.mark('sallyport-flows');
addEventListener('hashchange', () => {
  if (!readAddress()) return;
  apply({ address: false });
  drawMap();
});
requestAnimationFrame(() =>
  setTimeout(() => {
    startMap(!hadFilter);
    if (hadFilter) byId('map').scrollIntoView({ block: 'start' });
    root.dataset.ready = 'map';
    performance.mark('sallyport-map');
    later(adoptNext);
  }),
);
