// The drawer: one alert with all of its arithmetic, or one drop.
import { download, get } from './api.js';
import { byId, el, fill, say } from './dom.js';
import { bytes, clock, count, party, percent, rank, severities, span, stamp, value, words } from './format.js';
import { fate } from './alerts.js';

// Drawer shows one thing beside the lists. It does not cover them: arrows in the list go on.
export class Drawer {
  constructor() {
    this.box = byId('drawer');
    byId('drawer-close').addEventListener('click', () => this.close());
    addEventListener('keydown', (e) => {
      if (e.key === 'Escape' && !this.box.hidden && !byId('ask').open) this.close();
    });
  }

  show(key, title, content, focus) {
    const same = this.key === key;
    if (this.box.hidden) this.back = document.activeElement;
    this.key = key;
    fill(byId('drawer-h'), title);
    const y = byId('drawer-body').scrollTop;
    fill(byId('drawer-body'), content);
    byId('drawer-body').scrollTop = same ? y : 0;
    this.box.hidden = false;
    if (!same) history.replaceState(null, '', '#' + key); // not when it is drawn anew: the user may have gone elsewhere by then
    if (focus) byId('drawer-h').focus();
  }

  close() {
    this.box.hidden = true;
    this.key = null;
    history.replaceState(null, '', location.pathname);
    this.back?.focus?.();
  }

  holds(key) {
    return !this.box.hidden && this.key === key;
  }
}

const fact = (name, ...what) => (what.flat().some((w) => w !== null && w !== undefined && w !== false && w !== '') ? [el('dt', {}, name), el('dd', {}, ...what)] : []);

const evidenceAfter = 8000, evidenceTries = 5; // ms: packets are kept around an alert, so they are complete after it

// openAlert shows an alert in the drawer. page: {drawer, alerts, openId, openDrop, addDrop}
export async function openAlert(page, a, focus, tries = evidenceTries) {
  const key = 'alerts/' + encodeURIComponent(a.id);
  const draw = (more) => page.drawer.show(key, [badge(a), a.analyzer + ' · ' + words(a.kind)], alertBody(page, a, more), focus && !more);
  if (tries === evidenceTries) draw(page.drawer.holds(key) ? page.drawer.more : null);
  try {
    const more = await get(key);
    if (!page.drawer.holds(key)) return;
    page.drawer.more = more;
    const newest = page.alerts.get(a.id);
    if (more.alert.rev >= a.rev) a = more.alert;
    if (newest && newest.rev > a.rev) a = newest;
    draw(more);
    clearTimeout(page.drawer.again);
    if (!more.evidence && rank(a.severity) >= 2 && tries > 1) {
      page.drawer.again = setTimeout(() => page.drawer.holds(key) && openAlert(page, a, false, tries - 1), evidenceAfter);
    }
  } catch (e) {
    if (page.drawer.holds(key)) byId('drawer-body').append(el('p.problem', { role: 'alert' }, 'Its revisions cannot be read: ' + e.message + '.'));
  }
}

export const badge = (a) => el('span.badge.s-' + severities[rank(a.severity)], {}, a.severity);

function alertBody(page, a, more) {
  return [
    el('p.sentence', {}, a.summary),
    el('div.actions', {}, evidence(a, more), dropFor(page, a)),
    el('dl.facts', {},
      fact('Subject', who(a.subject) ?? el('i', {}, 'nobody can be named')), fact('Victim', who(a.victim)),
      fact('Began', stamp(a.first)), fact('Last', stamp(a.last) + ' (' + span((Date.parse(a.last) - Date.parse(a.first)) / 1000) + ')'),
      fact('State', [...new Set([a.state === 'closed' ? 'closed' : 'open', fate(a)[0]])].join(', ')), fact('Events', count(a.count)),
      fact('Score', a.score + ' of 100'), fact('Confidence', a.confidence + ' of 100'),
      fact('ATT&CK', (a.attack ?? []).join(', ')), fact('Connection', a.community_id && el('code', {}, a.community_id)),
      fact('Incident', a.incident && link(page, a.incident)),
      fact('Muted', a.muted && [a.muted.rule ?? a.muted.name ?? 'by a rule', a.muted.reason && ': ' + a.muted.reason])),
    why(page, a),
    signature(a.signature),
    a.notes?.length ? el('section', {}, el('h3', {}, 'Notes'), el('ul.notes', {}, a.notes.map((n) => el('li', {}, n)))) : null,
    done(page, a), lossOf(a.loss), revisions(more),
    el('p.fine', {}, 'id ' + a.id + ', revision ' + a.rev + ', sensor ' + a.sensor + (a.config ? ', configuration ' + a.config.slice(0, 12) : '')),
  ];
}

// who is a party with all that is known of it.
function who(p) {
  if (!p) return null;
  const more = [p.name, p.service, p.asn && 'AS' + p.asn, p.country, p.return_path && 'return path ' + p.return_path, ...(p.lists ?? []).map((l) => 'list ' + l)];
  return [el('code', {}, party(p)), ...more.filter(Boolean).map((m) => el('span.tag', {}, m))];
}

function evidence(a, more) {
  if (!more?.evidence) return null;
  const sum = (a.evidence ?? more.alert.evidence)?.sha256;
  const save = async (e) => {
    e.target.disabled = true;
    try {
      await download('alerts/' + encodeURIComponent(a.id) + '/evidence', 'weir-' + a.id.replace(/[^0-9a-z]/gi, '') + '.pcapng');
      e.target.disabled = false;
    } catch (err) {
      say(e.target, 'No evidence: ' + err.message);
    }
  };
  return el('button', { type: 'button', title: sum && 'SHA-256 ' + sum, onclick: save }, 'Download the packets');
}

function dropFor(page, a) {
  const target = a.subject?.ip ?? a.subject?.prefix;
  if (a.action?.drop) return el('button', { type: 'button', onclick: () => page.openDrop(a.action.drop) }, 'Show its drop');
  return target ? el('button', { type: 'button', onclick: () => page.addDrop({ target, reason: a.summary.slice(0, 200) }) }, 'Drop ' + target + '…') : null;
}

// link opens another alert.
function link(page, id) {
  const other = page.alerts.get(id);
  return el('button.linklike', { type: 'button', onclick: () => page.openId(id) }, other ? other.analyzer + ' · ' + words(other.kind) : id);
}

// why is the arithmetic: each measure against its threshold and against what is usual.
function why(page, a) {
  if (!a.why?.length) return null;
  return el('section', {}, el('h3', {}, 'Why'), el('ul.why', {}, a.why.map((m) => {
    const over = m.threshold !== undefined;
    const against = el('span.against', {}, [
      over && 'threshold ' + value(m.threshold, m.unit),
      m.baseline && 'usual ' + value(m.baseline.mean, m.unit) + ' ± ' + value(m.baseline.stddev) + ' (n ' + count(m.baseline.n) + ')',
      m.window && 'within ' + span(m.window), m.alert && m.time && 'since ' + clock(m.time),
    ].filter(Boolean).join(' · '));
    return el('li' + (over ? '.decides' : ''), {}, el('span.measure', {}, m.alert ? link(page, m.alert) : words(m.measure), over ? null : [' ', against]),
      el('b.value', {}, value(m.value, m.unit)), over ? [bar(m), against] : null);
  })));
}

// bar shows a value against its threshold, and what is usual where that is known. The scale ends at the larger of both.
export function bar(m) {
  const end = Math.max(Math.abs(m.value), Math.abs(m.threshold), 1e-12) * 1.04, at = (n) => Math.min(100, Math.max(0, (n / end) * 100));
  const box = el('span.bar' + (m.value >= m.threshold ? '.over' : ''), { role: 'img', 'aria-label': percent(m.value / m.threshold) + ' of the threshold' });
  const part = (name, from, to) => {
    const e = el('i.' + name);
    e.style.left = at(from) + '%';
    if (to !== undefined) e.style.width = Math.max(at(to) - at(from), 0) + '%';
    box.append(e);
  };
  part('is', 0, m.value);
  if (m.baseline) part('usual', Math.max(0, m.baseline.mean - m.baseline.stddev), m.baseline.mean + m.baseline.stddev);
  part('limit', m.threshold);
  return box;
}

function signature(s) {
  if (!s) return null;
  return el('section', {}, el('h3', {}, 'Signature'),
    el('p.fields', {}, s.fields.map((f) => el('code', {}, words(f.name) + ' = ' + f.value))),
    el('p.fine', {}, 'covers ' + percent(s.attack) + ' of the attack (n ' + count(s.n_attack) + ') and ' + percent(s.normal) + ' of what is normal (n ' + count(s.n_normal) + ')'));
}

function done(page, a) {
  const { action, blocked } = a;
  if (!action && !blocked) return null;
  return el('section', {}, el('h3', {}, 'What was done'), el('ul.notes', {},
    action?.drop && el('li', {}, words(action.effect ?? 'drop') + ', drop ', el('button.linklike', { type: 'button', onclick: () => page.openDrop(action.drop) }, action.drop)),
    action?.guard && el('li', {}, 'Nothing is dropped: refused by guard ', el('code', {}, action.guard)),
    blocked && el('li', {}, count(blocked.packets) + ' packets, ' + bytes(blocked.bytes) + ' kept from the victim')));
}

function lossOf(l) {
  if (!l || (!l.ratio && !l.one_way && !l.causes)) return null;
  return el('section', {}, el('h3', {}, 'What the sensor did not see meanwhile'), el('ul.notes', {},
    l.ratio > 0 && el('li', {}, percent(l.ratio) + ' of packets'), l.one_way && el('li', {}, 'one direction of the link: outcomes are not judged'),
    Object.entries(l.causes ?? {}).map(([cause, n]) => el('li', {}, words(cause) + ': ' + count(n)))));
}

function revisions(more) {
  if (!more?.revisions?.length) return null;
  const rows = [...more.revisions].sort((a, b) => a.rev - b.rev);
  return el('section', {}, el('h3', {}, 'Revisions'), el('table.rows', {}, el('tbody', {}, rows.map((r) => el('tr', {},
    el('td', {}, clock(r.time)), el('td', {}, r.state), el('td', {}, r.severity), el('td.n', {}, count(r.count)), el('td.grow', {}, r.summary))))),
    more.omitted > 0 && el('p.fine', {}, count(more.omitted) + ' between the first and the last ones are not kept here.'));
}

// openDrop shows a drop. page: {drawer, now, remove, approve, openId}
export function openDrop(page, d, focus) {
  const left = d.until && (Date.parse(d.until) - page.now()) / 1000;
  page.drawer.show('drops/' + encodeURIComponent(d.id), [el('span.badge.d-' + (dropStates.has(d.state) ? d.state : 'wanted'), {}, d.state), d.target ?? d.key], [
    el('p.sentence', {}, d.reason),
    el('div.actions', {},
      d.state === 'pending' && el('button.main', { type: 'button', onclick: () => page.approve(d) }, 'Approve'),
      el('button.danger', { type: 'button', onclick: () => page.remove(d) }, 'Remove'),
      d.alert && el('button', { type: 'button', onclick: () => page.openId(d.alert) }, 'Show its alert')),
    el('dl.facts', {},
      fact('Action', words(effect(d)) + (d.state === 'shadow' ? ', only counted' : '')), fact('By', d.by + (d.approved ? ', approved by ' + d.approved : '')), fact('Since', d.created && stamp(d.created)),
      fact('Until', d.until && stamp(d.until) + ' (' + (left > 0 ? 'in ' + span(left) : 'over') + ')'),
      fact('Packets', count(d.packets ?? 0)), fact('Bytes', bytes(d.bytes ?? 0)), fact('Last hit', d.last ? stamp(d.last) : 'none yet')),
    d.guard && el('p.problem', {}, 'Guard ' + d.guard + (d.state === 'pending' ? ' holds it until somebody approves.' : ' refused it.')),
    el('section', {}, el('h3', {}, 'Gates'), d.gates?.length ? el('ul.gates', {}, d.gates.map((g) => el('li' + (g.error ? '.bad' : ''), {},
      el('b', {}, g.sensor + (g.interface ? ' · ' + g.interface : '')), ' ', el('span', {}, [g.table && 'table ' + g.table, words(g.state)].filter(Boolean).join(', ')),
      g.guard && el('p.problem', {}, 'refused by the guard ' + g.guard), g.error && el('p.problem', {}, g.error)))) : el('p.fine', {}, 'No gate has reported on it.')),
    el('p.fine', {}, 'id ' + d.id + (d.key ? ', key ' + d.key : '')),
  ], focus);
}

// effect is what a drop does, or in rehearsal would do.
export function effect(d) {
  const what = d.action === 'shadow' ? d.would ?? 'drop' : d.action;
  return d.rate ? what + ' above ' + count(d.rate) + '/s' : what;
}

export const dropStates = new Set(['applied', 'pending', 'shadow', 'refused', 'wanted']);
