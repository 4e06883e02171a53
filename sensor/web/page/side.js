// The small tables: who sends most, what is asked most, what is near a threshold, what was lost.
import { byId, el, fill } from './dom.js';
import { bits, cause as causeText, count, party, percent, scaled, value, words } from './format.js';
import { bar } from './detail.js';

const rows = 10;

// showTop fills the two tables of who sends and what is asked.
export function showTop(top) {
  for (const e of document.querySelectorAll('.top-n')) fill(e, top ? 'last ' + top.window + ' s' : '');
  table('sources', 'Source', top?.sources, top?.window, (s) => [el('code', {}, s.ip), s.name && el('span.tag', {}, s.name)]);
  table('services', 'Service', top?.services, top?.window, (s) => [el('code', {}, party(s)),
    s.service && el('span.tag', {}, s.service), s.name && el('span.tag', {}, s.name)]);
}

function table(id, title, list, window, name) {
  const box = byId(id);
  if (!list) return void fill(box, el('p.none', {}, 'Reading…'));
  if (!list.length) return void fill(box, el('p.none', {}, 'Nobody sends anything.'));
  const most = Math.max(1, ...list.map((s) => s.bytes));
  fill(box, el('table.rows.top', {},
    el('thead', {}, el('tr', {}, el('th.grow', {}, title), el('th.n', {}, 'Packets'), el('th.n', {}, 'Traffic'), el('th.n', { title: 'Connections' }, 'Conns'))),
    el('tbody', {}, list.slice(0, rows).map((s) => {
      const share = el('i.share');
      share.style.width = (100 * s.bytes) / most + '%';
      return el('tr', {}, el('td.grow', {}, share, name(s)), el('td.n', {}, scaled(s.packets / window, '/s')),
        el('td.n', {}, bits((8 * s.bytes) / window)), el('td.n', {}, count(s.connections)));
    }))));
}

// showNear lists what would be told or dropped next, and how much is missing.
export function showNear(near, open) {
  const box = byId('near');
  if (!near) return void fill(box, el('p.none', {}, 'Reading…'));
  if (!near.near.length) return void fill(box, el('p.none', {}, 'Nothing comes near a threshold.'));
  fill(box, el('ul.near', {}, near.near.slice(0, 8).map((n) => {
    const left = n.threshold - n.value;
    return el('li' + (n.would === 'drop' ? '.drops' : ''), {},
      el('span.what', {}, el('b', {}, n.analyzer + ' · ' + words(n.kind)), ' ', el('span.would', {}, 'next: ' + n.would)),
      el('span.share', {}, percent(n.share ?? n.value / n.threshold)),
      el('span.who', {}, [party(n.subject), party(n.victim)].filter(Boolean).join(' → ')),
      bar(n),
      el('span.margin', {}, words(n.measure) + ' ' + value(n.value) + ' of ' + value(n.threshold, n.unit) + (left > 0 ? ', ' + value(Number(left.toPrecision(3))) + ' to go' : ', reached')));
  })));
}

// showLoss lists what was not seen, by cause, and the interfaces.
export function showLoss(status) {
  const box = byId('loss');
  if (!status) return void fill(box, el('p.none', {}, 'Reading…'));
  const causes = Object.entries(status.loss?.causes ?? {}).filter(([, n]) => n > 0).sort((a, b) => b[1] - a[1]);
  fill(byId('loss-n'), 'since the start');
  fill(box, causes.length ? el('table.rows', {}, el('tbody', {}, causes.map(([cause, n]) => el('tr', {}, el('td.grow', {}, causeText(cause)), el('td.n', {}, count(n))))))
    : status.mode === 'block' ? null : el('p.none', {}, 'Nothing was lost.'),
  el('table.rows.interfaces', {}, el('tbody', {}, (status.interfaces ?? []).map((i) => el('tr', {},
    el('td.grow', {}, el('i.dot.' + (i.up ? 'up' : 'down')), el('code', {}, i.name), i.up ? '' : ' down'),
    el('td.n', {}, scaled(i.packets) + ' packets'), el('td.n' + (i.dropped ? '.bad' : ''), {}, scaled(i.dropped ?? 0) + ' dropped'))))));
}
