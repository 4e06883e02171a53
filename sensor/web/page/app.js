// The live page: it reads what there is, follows the events, and draws. Nothing here believes what packets carried.
import { get, Refused, Stream, token } from './api.js';
import { AlertList, Alerts } from './alerts.js';
import { Charts } from './chart.js';
import { Drawer, openAlert, openDrop } from './detail.js';
import { byId, el, fill, say } from './dom.js';
import { addDrop, approveDrop, askToken, removeDrop, showDrops, tickDrops } from './drops.js';
import { bits, cause, clock, count, percent, rank, scaled, sentence, severities, since, span } from './format.js';
import { showLoss, showNear, showTop } from './side.js';

const lossHigh = 0.01; // share of packets from which on a banner says so

const state = { status: null, drops: null, near: null, top: null, link: 'connecting', heard: 0, skew: 0 };
const now = () => Date.now() + state.skew;

const alerts = new Alerts();
const charts = new Charts();
const drawer = new Drawer();
const page = {
  alerts, drawer, now,
  openDrop: (id) => open('drops', id, true),
  openId: (id) => open('alerts', id, true),
  addDrop: (first) => altered(addDrop(first)),
  remove: (d) => altered(removeDrop(d), () => drawer.close()),
  approve: (d) => altered(approveDrop(d)),
};
const list = new AlertList(alerts, (a, focus) => openAlert(page, a, focus));
list.quiet = () => {
  const s = state.status;
  if (!s) return '';
  if (s.mode === 'block') return 'Alerts of the site\'s sensors come here by themselves. Drops are enforced here since ' + clock(s.started) + ' UTC.';
  return (s.interfaces ?? []).map((i) => i.name).join(' and ') + (s.interfaces?.length > 1 ? ' have' : ' has') + ' been watched since ' + clock(s.started) +
    ' UTC, for ' + span(Math.floor(since(s.started, now()) / 60) * 60 || 1) + '. What is found comes here by itself.';
};

// open shows an alert or a drop by its id, whether the page has it or not.
async function open(kind, id, focus) {
  const has = kind === 'alerts' ? alerts.get(id) : state.drops?.drops?.find((d) => d.id === id);
  if (has) return kind === 'alerts' ? openAlert(page, has, focus) : openDrop(page, has, focus);
  try {
    if (kind === 'alerts') return openAlert(page, (await get('alerts/' + encodeURIComponent(id))).alert, focus);
    await readDrops();
    const d = state.drops?.drops?.find((one) => one.id === id);
    if (d) return openDrop(page, d, focus);
    throw new Error('It has ended: nothing is dropped by it any more.');
  } catch (e) {
    drawer.show(kind + '/' + encodeURIComponent(id), id, el('p.problem', { role: 'alert' }, sentence(e.message)), focus);
  }
}

// altered waits for a change and reads what became of it.
async function altered(change, then) {
  if (!(await change)) return;
  then?.();
  await readDrops();
}

// What is read at the start, and again where events were missed.

async function readStatus() {
  const s = await get('status');
  state.status = s;
  state.skew = Date.parse(s.now) - Date.now();
  showStatus();
}

async function readSeries() {
  const newest = charts.newest()?.t;
  const seconds = newest ? Math.min(3600, Math.max(60, Math.ceil(now() / 1000 - newest) + 10)) : 3600;
  charts.put((await get('series?seconds=' + seconds)).points);
  showRates(charts.newest());
}

async function readAlerts() {
  let before = '', all = 0;
  do {
    const p = await get('alerts?limit=500' + (before && '&before=' + encodeURIComponent(before)));
    list.show(p.alerts);
    before = p.next;
    all += p.alerts.length;
    if (!before || all >= 5000 || !p.alerts.length) alerts.loaded = true;
    list.refresh();
  } while (!alerts.loaded);
  showOpen();
}

async function readDrops() {
  try {
    state.drops = await get('drops');
    state.dropsError = null;
  } catch (e) {
    state.dropsError = 'The drops cannot be read: ' + e.message + '.';
  }
  showDrops(state, page.openDrop, now());
  const d = state.drops?.drops?.find((one) => drawer.holds('drops/' + encodeURIComponent(one.id)));
  if (d) openDrop(page, d, false);
}

const readTop = async () => showTop((state.top = await get('top')));
const readNear = async () => showNear((state.near = await get('near')));

async function readAll(anew) {
  if (anew) {
    alerts.loaded = false;
    list.clear();
  }
  const reads = [readStatus(), readSeries(), readDrops(), readTop(), readNear()];
  if (anew || !alerts.loaded || !stream.last) reads.push(readAlerts());
  const failed = (await Promise.allSettled(reads)).filter((r) => r.status === 'rejected').map((r) => r.reason);
  state.problem = failed.find((e) => !(e instanceof Refused && e.code === 401))?.message ?? null;
  showBanners();
}

// Events.

const takers = {
  second(d) {
    state.heard = Date.now();
    if (d.point) {
      charts.put([d.point]);
      showRates(d.point);
    }
    if (d.top) showTop((state.top = d.top));
    if (d.status && state.status) {
      const s = state.status;
      Object.assign(s, d.status, { loss: { ...s.loss, ...d.status.loss } });
      showStatus();
    }
  },
  alert(d) {
    arrived.push(d);
    settle ||= requestAnimationFrame(takeAlerts);
  },
  drops: () => { later('drops', 150, readDrops); later('status', 400, readStatus); },
  near: (d) => showNear((state.near = d)),
  reset: () => readAll(true),
};

let arrived = [], settle = 0;

// takeAlerts shows what came within a frame at once.
function takeAlerts() {
  const now = arrived;
  [arrived, settle] = [[], 0];
  announce(list.take(now));
  showOpen();
  for (const { alert } of now) if (drawer.holds('alerts/' + encodeURIComponent(alert.id))) openAlert(page, alert, false);
}

let unsaid = [];

// announce tells screen readers of new alerts, at most every three seconds.
function announce(news) {
  unsaid.push(...news.filter((a) => rank(a.severity) >= 2));
  if (!unsaid.length) return;
  later('announce', 3000, () => {
    const worst = unsaid.reduce((a, b) => (rank(b.severity) > rank(a.severity) ? b : a));
    say(byId('live'), (unsaid.length > 1 ? unsaid.length + ' new alerts, the worst ' : 'New alert, ') + worst.severity + ': ' + worst.summary.slice(0, 300));
    unsaid = [];
  });
}

const waiting = new Map();

function later(name, ms, f) {
  if (waiting.has(name)) return;
  waiting.set(name, setTimeout(async () => {
    waiting.delete(name);
    try { await f(); } catch { /* the stream tells of a lost connection */ }
  }, ms));
}

const stream = new Stream((event, data) => takers[event]?.(data), (link, detail) => {
  const was = state.link;
  Object.assign(state, { link, detail });
  if (link !== 'live' && was === 'live') state.lostAt = Date.now();
  if (link === 'live') readAll(false);
  if (link === 'denied') denied();
  showLink();
});

// denied tries without a token that is not taken any more, and then asks for one.
async function denied() {
  if (byId('ask').open) return;
  if (token.get()) {
    token.set('');
    showToken();
    setTimeout(() => stream.retry(), 100);
  } else if (await askToken('This sensor shows itself only to those who have its token.')) stream.retry();
}

// What is shown.

function showRates(p) {
  if (!p) return;
  say(byId('clock'), clock(p.t * 1000));
  say(byId('n-packets'), scaled(p.packets, '/s'));
  say(byId('n-bits'), bits(p.bits));
  const usual = (mean, dev, f) => (mean === undefined ? 'what is usual is being learned' : 'usual ' + f(mean) + ' ± ' + f(3 * (dev ?? 0)));
  say(byId('s-packets'), usual(p.packets_mean, p.packets_stddev, (n) => scaled(n, '/s')));
  say(byId('s-bits'), usual(p.bits_mean, p.bits_stddev, bits));
  byId('n-packets').classList.toggle('bad', p.packets_alarm !== undefined && p.packets >= p.packets_alarm);
  byId('n-bits').classList.toggle('bad', p.bits_alarm !== undefined && p.bits >= p.bits_alarm);
}

function showStatus() {
  const s = state.status;
  document.body.dataset.mode = s.mode;
  say(byId('sensor'), s.sensor);
  say(byId('site'), s.site === 'default' ? '' : s.site);
  byId('sensor').title = 'weir ' + (s.version ?? '');
  const mode = s.panic ? ['panic', 'bad'] : s.dry_run ? ['rehearsal', 'warn'] : s.mode === 'sense' ? ['watches', ''] : ['enforces', 'good'];
  const key = JSON.stringify([mode, s.interfaces?.map((i) => [i.name, i.up]), s.one_way]);
  if (byId('chips').dataset.key !== key) {
    byId('chips').dataset.key = key;
    fill(byId('chips'), el('span.chip.' + (mode[1] || 'plain'), {}, mode[0]),
      (s.interfaces ?? []).map((i) => el('span.chip.' + (i.up ? 'plain' : 'bad'), { title: i.up ? 'up' : 'down' }, el('i.dot.' + (i.up ? 'up' : 'down')), i.name)),
      s.one_way && el('span.chip.warn', { title: 'The link shows one direction only: outcomes are not judged' }, 'one way'));
  }
  const d = s.drops ?? {}, some = (n, what) => (n ? [n + ' ' + what] : []);
  say(byId('n-drops'), s.mode === 'sense' ? '–' : count(d.enforced ?? 0));
  byId('n-drops').classList.toggle('bad', (d.enforced ?? 0) < (d.wanted ?? 0));
  say(byId('s-drops'), [...(s.mode === 'sense' ? ['this sensor only watches'] : ['of ' + count(d.wanted ?? 0) + ' wanted']), ...some(d.shadow, 'rehearsed'), ...some(d.pending, 'to approve')].join(', '));
  const ratio = s.loss?.ratio ?? 0;
  say(byId('n-loss'), percent(ratio));
  byId('n-loss').classList.toggle('bad', ratio >= lossHigh);
  const worst = Object.entries(s.loss?.causes ?? {}).sort((a, b) => b[1] - a[1])[0];
  say(byId('s-loss'), worst && worst[1] ? 'mostly ' + cause(worst[0]) : 'every packet was seen');
  showLoss(s);
  showOpen();
  showToken();
  showBanners();
  list.blank();
}

function showOpen() {
  const by = alerts.open(), total = by.reduce((a, b) => a + b, 0);
  const n = state.status?.alerts_open ?? (alerts.loaded ? total : undefined);
  say(byId('n-alerts'), count(n));
  byId('n-alerts').className = 'big' + (by[4] ? ' s-critical' : by[3] ? ' s-high' : '');
  const each = [4, 3, 2, 1, 0].filter((s) => by[s]).map((s) => by[s] + ' ' + severities[s]);
  say(byId('s-alerts'), each.join(', ') || (alerts.loaded ? 'none' : ''));
  document.title = (state.link === 'lost' ? '✕ ' : n ? '(' + n + ') ' : '') + 'weir' + (state.status ? ' · ' + state.status.sensor : '');
}

function showToken() {
  const b = byId('token'), s = state.status;
  b.hidden = s && !s.changes && !token.get();
  say(b, token.get() ? 'Forget token' : 'Give token');
  b.title = token.get() ? 'Changes are possible in this tab' : 'For changes of drops';
}

function showLink() {
  document.body.dataset.state = state.link === 'connecting' ? 'loading' : state.link;
  const silent = state.link === 'live' && state.heard ? Math.floor((Date.now() - state.heard) / 1000) : 0;
  const text = { connecting: 'connecting', live: silent > 5 ? 'no traffic for ' + span(silent) : 'live', lost: 'disconnected', denied: 'token needed' }[state.link];
  byId('link').className = 'link ' + (state.link === 'live' && silent > 5 ? 'silent' : state.link);
  say(byId('link').lastElementChild, text);
  showBanners();
  showOpen();
}

function showBanners() {
  const s = state.status, all = [];
  const retry = () => el('button', { type: 'button', onclick: () => stream.retry() }, 'Try now');
  if (state.link === 'lost') {
    const lost = s && state.lostAt ? Math.round((Date.now() - state.lostAt) / 1000) : 0;
    const wait = Math.max(0, Math.ceil((state.detail.retry - Date.now()) / 1000));
    all.push(['bad', s ? 'Disconnected: ' + state.detail.error + '.' : 'No sensor: ' + state.detail.error + '.',
      (lost > 0 ? 'What you see is ' + span(lost) + ' old. ' : '') + (wait ? 'Next try in ' + wait + ' s.' : 'Trying…'), retry]);
  }
  if (state.link === 'denied') all.push(['bad', 'This sensor shows itself only to those who have its token.', '', () => el('button', { type: 'button', onclick: denied }, 'Give token')]);
  if (state.problem && state.link === 'live') all.push(['bad', 'Not all could be read: ' + state.problem + '.', '', () => el('button', { type: 'button', onclick: () => readAll(false) }, 'Read again')]);
  if (s?.panic) {
    const { by, reason, since: at } = s.panic;
    all.push(['bad', 'Panic: nothing is dropped until weir bans resume.', (by ? 'By ' + by + (at ? ' at ' + clock(at) + ' UTC' : '') + '. ' : '') + (reason ? 'Reason: ' + reason + '. ' : '') + 'Detection goes on.']);
  }
  if (s?.dry_run) all.push(['warn', 'Rehearsal: drops are only counted.', 'No packet is held back.']);
  if (s?.loss?.ratio >= lossHigh) all.push(['warn', percent(s.loss.ratio) + ' of packets are not seen.', 'Conclusions are weaker by as much; causes stand under Loss.']);
  if (s?.not_ready?.length) all.push(['warn', 'Not ready: ' + s.not_ready.join('; ') + '.', '']);
  const key = JSON.stringify(all.map((b) => b.slice(0, 3)));
  const box = byId('banners');
  if (box.dataset.key === key) return;
  box.dataset.key = key;
  const focused = box.contains(document.activeElement);
  fill(box, all.map(([kind, first, more, button]) => el('div.banner.' + kind, { role: kind === 'bad' && !box.dataset.said?.includes(first) ? 'alert' : null }, el('b', {}, first), ' ', el('span', {}, more), button?.())));
  box.dataset.said = all.map((b) => b[1]).join('|');
  if (focused) box.querySelector('button')?.focus();
}

// Beginning.

byId('token').addEventListener('click', async () => {
  if (token.get()) token.set('');
  else await askToken('Changes need the token.');
  showToken();
});
addEventListener('weir-token', showToken);
byId('add').addEventListener('click', () => page.addDrop({}));
addEventListener('online', () => stream.retry());
addEventListener('hashchange', followHash);
addEventListener('keydown', (e) => {
  if (e.key === '/' && !/^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement.tagName) && !byId('ask').open) {
    e.preventDefault();
    byId('f-text').focus();
  }
});

function followHash() {
  const [kind, id] = location.hash.slice(1).split('/');
  if (id && (kind === 'alerts' || kind === 'drops')) open(kind, decodeURIComponent(id), true);
}

setInterval(() => {
  showLink();
  tickDrops(now());
}, 1000);
setInterval(() => {
  if (state.link !== 'live' || document.hidden) return;
  later('status', 0, readStatus);
  if (state.drops?.drops?.length) later('drops', 0, readDrops);
}, 5000);
showTop(null);
showNear(null);
showLoss(null);
showDrops(state, page.openDrop, now());
showToken();
stream.run();
followHash();
