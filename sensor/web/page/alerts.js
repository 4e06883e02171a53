// The alerts that the page has, and the list of them. Only the rows in view exist: 5,000 alerts cost as much as fifty.
import { byId, el, fill, say } from './dom.js';
import { clock, count, party, rank, severities, words } from './format.js';

const most = 5000; // as many as the sensor keeps
const beyond = 6; // rows ready above and below the view

// Alerts has the newest revision of each alert, in the order in which they came: who rises in severity comes to the top again.
export class Alerts {
  constructor() {
    this.ids = new Map(); // id → entry {seq, place, alert, text}
    this.order = []; // entries, the newest first
    this.loaded = false;
  }

  // put takes revisions, and tells which of them are news: opened, or more severe than before.
  put(list) {
    const news = [];
    for (const { seq, alert } of list) {
      const was = this.ids.get(alert.id);
      if (was && was.alert.rev >= alert.rev) continue;
      const entry = was ?? { place: seq };
      const rose = was && rank(alert.severity) > rank(was.alert.severity);
      if (rose) entry.place = seq;
      Object.assign(entry, { seq, alert, text: text(alert) });
      this.ids.set(alert.id, entry);
      if (alert.state !== 'closed' && (!was || rose)) news.push(alert);
    }
    this.order = [...this.ids.values()].sort((a, b) => b.place - a.place);
    for (const old of this.order.splice(most)) this.ids.delete(old.alert.id);
    return news;
  }

  clear() {
    this.ids.clear();
    this.order = [];
  }

  get(id) {
    return this.ids.get(id)?.alert;
  }

  // open counts open alerts by severity.
  open() {
    const n = severities.map(() => 0);
    for (const { alert } of this.order) if (alert.state !== 'closed') n[rank(alert.severity)]++;
    return n;
  }
}

// text is what the filter looks through.
function text(a) {
  const parties = [a.subject, a.victim].map((p) => p && [party(p), p.name, p.service, p.country, p.asn && 'AS' + p.asn, ...(p.lists ?? [])].join(' '));
  return [a.id, a.severity, a.analyzer + '.' + a.kind, a.summary, ...parties, ...(a.notes ?? []), ...(a.attack ?? []), a.action?.drop, a.action?.guard].join(' ').toLowerCase();
}

// AlertList shows them.
export class AlertList {
  constructor(alerts, open) {
    Object.assign(this, { alerts, openAlert: open, shown: [], held: null, active: null, top: 0, fresh: new Set() });
    this.box = byId('alerts');
    this.room = el('div.room', { role: 'presentation' });
    this.box.append(this.room);
    this.rows = [];
    this.height = 0;
    this.box.addEventListener('scroll', () => this.later(), { passive: true });
    this.box.addEventListener('keydown', (e) => this.key(e));
    this.box.addEventListener('click', (e) => {
      const row = e.target.closest('.row');
      if (row) this.select(row.entry, true);
    });
    new ResizeObserver(() => this.measure()).observe(this.box);
    this.filters();
    this.measure();
  }

  filters() {
    const again = () => { this.box.scrollTop = 0; this.refresh(); };
    for (const id of ['f-text', 'f-severity', 'f-analyzer', 'f-state']) byId(id).addEventListener('input', again);
    byId('filter').addEventListener('submit', (e) => e.preventDefault());
    byId('pause').addEventListener('click', () => this.pause(!this.held));
    byId('newer').addEventListener('click', () => { this.box.scrollTop = 0; this.later(); });
  }

  clearFilter() {
    byId('filter').reset();
    this.box.scrollTop = 0;
    this.refresh();
  }

  filtering() {
    return ['f-text', 'f-severity', 'f-analyzer', 'f-state'].some((id) => !['', '0'].includes(byId(id).value.trim()));
  }

  // pause keeps the list as it is; what comes meanwhile waits.
  pause(on) {
    const button = byId('pause');
    if (!on && this.held) this.show(this.held);
    this.held = on ? [] : null;
    button.setAttribute('aria-pressed', String(on));
    say(button, on ? 'Paused' : 'Pause');
    if (!on) this.refresh();
  }

  // take shows revisions, or keeps them while it is paused.
  take(list) {
    if (this.held) {
      this.held.push(...list);
      if (this.held.length > most) this.held.splice(0, this.held.length - most);
      say(byId('pause'), 'Paused: ' + new Set(this.held.map((e) => e.alert.id)).size + ' waiting');
      return [];
    }
    const news = this.show(list);
    this.refresh();
    return news;
  }

  show(list) {
    const news = this.alerts.put(list);
    if (this.alerts.loaded) for (const a of news) this.fresh.add(a.id);
    return news;
  }

  // clear forgets all alerts: they are read anew.
  clear() {
    this.alerts.clear();
    this.fresh.clear();
    this.active = null;
    if (this.held) this.held = [];
    this.refresh();
  }

  // refresh filters anew, and keeps what is in view where it is.
  refresh() {
    const anchor = this.box.scrollTop > 0 ? this.shown[Math.floor(this.box.scrollTop / this.height)] : null;
    const tokens = byId('f-text').value.toLowerCase().split(/\s+/).filter(Boolean);
    const least = Number(byId('f-severity').value), analyzer = byId('f-analyzer').value, state = byId('f-state').value;
    this.shown = this.alerts.order.filter(({ alert: a, text: t }) => rank(a.severity) >= least && (!analyzer || a.analyzer === analyzer) &&
      (!state || (a.state === 'closed') === (state === 'closed')) && tokens.every((w) => t.includes(w)));
    this.room.style.height = this.shown.length * this.height + 'px';
    if (anchor) {
      const at = this.shown.indexOf(anchor), was = Math.floor(this.box.scrollTop / this.height);
      if (at > was) this.box.scrollTop += (at - was) * this.height;
    }
    this.analyzers();
    this.render();
  }

  analyzers() {
    const select = byId('f-analyzer'), had = new Set([...select.options].map((o) => o.value));
    for (const { alert } of this.alerts.order) {
      if (had.has(alert.analyzer)) continue;
      had.add(alert.analyzer);
      select.append(el('option', { value: alert.analyzer }, alert.analyzer));
    }
  }

  measure() {
    const height = parseFloat(getComputedStyle(this.box).getPropertyValue('--row')) || 34;
    if (height !== this.height) {
      this.height = height;
      this.room.style.height = this.shown.length * height + 'px';
    }
    this.view = this.box.clientHeight;
    this.later();
  }

  later() {
    this.frame ||= requestAnimationFrame(() => { this.frame = 0; this.render(); });
  }

  // render moves the rows that exist to what is in view.
  render() {
    const first = Math.max(0, Math.floor(this.box.scrollTop / this.height) - beyond);
    const n = Math.min(this.shown.length - first, Math.ceil(this.view / this.height) + 2 * beyond);
    while (this.rows.length < n) {
      this.rows.push(newRow());
      this.room.append(this.rows.at(-1).e);
    }
    this.rows.forEach((row, i) => {
      row.e.hidden = i >= n;
      if (i < n) this.place(row, first + i);
    });
    if (this.box.scrollTop < this.height) this.fresh.clear();
    const hidden = this.fresh.size && this.shown.filter(({ alert }) => this.fresh.has(alert.id)).length;
    byId('newer').hidden = !hidden;
    say(byId('newer'), '↑ ' + hidden + ' new');
    const all = this.alerts.order.length, some = this.shown.length;
    say(byId('alerts-n'), !this.alerts.loaded && !all ? '' : some === all ? count(all) : count(some) + ' of ' + count(all));
    this.blank();
  }

  place(row, at) {
    const entry = this.shown[at], e = row.e;
    if (row.at !== at || row.high !== this.height) e.style.transform = 'translateY(' + at * this.height + 'px)';
    [row.at, row.high] = [at, this.height];
    e.setAttribute('aria-posinset', at + 1);
    e.setAttribute('aria-setsize', this.shown.length);
    e.setAttribute('aria-selected', String(entry === this.active));
    if (row.entry === entry && row.seq === entry.seq) return;
    [row.entry, row.seq, e.entry] = [entry, entry.seq, entry];
    const a = entry.alert;
    e.id = 'alert-' + a.id.replace(/[^0-9a-z]/gi, '');
    e.className = 'row s-' + severities[rank(a.severity)] + (a.state === 'closed' ? ' closed' : '') + (a.analyzer === 'incident' ? ' incident' : '');
    e.title = a.summary.length > 500 ? '' : a.summary;
    say(row.time, clock(a.time));
    row.time.title = a.time;
    say(row.severity, a.severity);
    say(row.kind, a.analyzer + ' · ' + words(a.kind));
    say(row.summary, a.summary);
    const [word, kind] = fate(a);
    say(row.fate, word);
    row.fate.className = 'fate ' + kind;
  }

  blank() {
    const blank = byId('alerts-blank');
    blank.hidden = this.shown.length > 0;
    this.box.classList.toggle('none', this.shown.length === 0);
    const why = !this.alerts.loaded ? 'loading' : this.filtering() && this.alerts.order.length ? 'filtered' : 'quiet';
    if (blank.hidden || blank.dataset.why === why + this.quiet?.()) return;
    blank.dataset.why = why + this.quiet?.();
    if (why === 'loading') fill(blank, el('p', {}, 'Reading the alerts…'));
    else if (why === 'filtered') fill(blank, el('p', {}, 'No alert has all of that.'), el('button', { type: 'button', onclick: () => this.clearFilter() }, 'Show all'));
    else fill(blank, el('p.lead', {}, 'Quiet.'), el('p', {}, this.quiet?.()));
  }

  key(e) {
    const page = Math.max(1, Math.floor(this.view / this.height) - 1);
    const step = { ArrowDown: 1, j: 1, ArrowUp: -1, k: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity }[e.key];
    if (e.ctrlKey || e.altKey || e.metaKey) return;
    if (step !== undefined && this.shown.length) {
      e.preventDefault();
      const at = this.active ? this.shown.indexOf(this.active) : -1;
      const to = Math.min(this.shown.length - 1, Math.max(0, (at < 0 && step > 0 ? -1 : at) + step));
      this.select(this.shown[to], !byId('drawer').hidden);
      const y = to * this.height;
      if (y < this.box.scrollTop) this.box.scrollTop = y;
      else if (y + this.height > this.box.scrollTop + this.view) this.box.scrollTop = y + this.height - this.view;
    } else if ((e.key === 'Enter' || e.key === ' ') && this.active) {
      e.preventDefault();
      this.openAlert(this.active.alert, true);
    }
  }

  // select marks an alert, and opens it.
  select(entry, open) {
    this.active = entry;
    this.box.setAttribute('aria-activedescendant', 'alert-' + entry.alert.id.replace(/[^0-9a-z]/gi, ''));
    this.render();
    if (open) this.openAlert(entry.alert, false);
  }
}

function newRow() {
  const [time, severity, kind, summary, fate] = ['time', 'severity', 'kind', 'summary', 'fate'].map((c) => el('span.' + c));
  return { e: el('div.row', { role: 'option' }, time, severity, kind, summary, fate), time, severity, kind, summary, fate };
}

// fate is what became of an alert, in a word.
export function fate(a) {
  if (a.muted) return ['muted', 'dim'];
  if (a.action?.drop) {
    const e = a.action.effect ?? 'drop';
    return [e === 'shadow' ? 'rehearsed' : e === 'pending' ? 'to approve' : words(e), e === 'shadow' ? 'dim' : e === 'pending' ? 'warn' : 'acted'];
  }
  return a.state === 'closed' ? ['closed', 'dim'] : ['open', ''];
}
