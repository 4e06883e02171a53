// The two charts: a rate, what is usual (mean ± 3 standard deviations) and the line where an alarm begins.
import { byId, el, fill } from './dom.js';
import { bits, clock, scaled } from './format.js';

const kept = 3600; // s
const hole = 5; // s without a point are a gap in the line

// Charts keeps the last hour of points and draws a part of it.
export class Charts {
  constructor() {
    this.points = new Map(); // t → point
    this.seconds = 600;
    this.plots = [
      new Plot('packets', (n) => scaled(n, '/s')),
      new Plot('bits', bits),
    ];
    const spans = byId('spans');
    for (const [text, seconds] of [['5 min', 300], ['10 min', 600], ['1 h', kept]]) {
      spans.append(el('button', { type: 'button', 'aria-pressed': String(seconds === this.seconds), onclick: (e) => this.zoom(e.target, seconds) }, text));
    }
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => { for (const p of this.plots) p.remake(); this.draw(); });
    document.addEventListener('visibilitychange', () => this.draw());
  }

  zoom(button, seconds) {
    this.seconds = seconds;
    for (const b of byId('spans').children) b.setAttribute('aria-pressed', String(b === button));
    this.draw();
  }

  put(points) {
    for (const p of points) if (Number.isFinite(p.t)) this.points.set(p.t, p);
    this.times = [...this.points.keys()].sort((a, b) => a - b);
    for (const t of this.times.splice(0, Math.max(0, this.times.length - kept))) this.points.delete(t);
    this.draw();
  }

  newest() {
    return this.points.get(this.times?.at(-1));
  }

  draw() {
    if (document.hidden || !this.times?.length) return;
    const end = this.times.at(-1), begin = Math.max(end - this.seconds, Math.min(this.times[0], end - 60)), shown = [];
    for (const t of this.times) {
      if (t < begin) continue;
      if (shown.length && t - shown.at(-1).t > hole) shown.push({ t: t - 1 });
      shown.push(this.points.get(t));
    }
    for (const plot of this.plots) plot.draw(shown, begin, end);
  }
}

// Plot is one of them.
class Plot {
  constructor(name, format) {
    Object.assign(this, { name, format, box: byId('c-' + name), legend: byId('l-' + name) });
    new ResizeObserver(() => this.plot?.setSize({ width: this.box.clientWidth, height: this.box.clientHeight })).observe(this.box);
  }

  remake() {
    this.plot?.destroy();
    this.plot = null;
  }

  draw(points, from, to) {
    const column = (f) => points.map((p) => f(p) ?? null);
    const field = (s) => (p) => p[this.name + s];
    const [mean, dev] = [field('_mean'), field('_stddev')];
    const value = column(field('')), alarm = column(field('_alarm'));
    const high = column((p) => (mean(p) === undefined ? null : mean(p) + 3 * (dev(p) ?? 0)));
    const low = column((p) => (mean(p) === undefined ? null : Math.max(0, mean(p) - 3 * (dev(p) ?? 0))));
    this.range = [from, to];
    [this.shown, this.last] = [points, points.at(-1)];
    // The alarm often is far above: it is drawn where it leaves the rest legible, and told in any case.
    const most = Math.max(1, ...value, ...high);
    const line = Math.max(0, ...alarm);
    this.most = line > most && line <= 4 * most ? line : most;
    this.data = [column((p) => p.t), value, column(mean), high, low, alarm];
    if (!this.plot) this.make();
    else this.plot.setData(this.data);
    this.tell(this.plot.cursor.idx);
  }

  make() {
    const css = getComputedStyle(document.documentElement), colour = (n) => css.getPropertyValue(n).trim();
    const axis = { stroke: colour('--dim'), font: '11px ' + colour('--sans'), grid: { stroke: colour('--line'), width: 1 }, ticks: { show: false } };
    const line = (stroke, more) => ({ stroke, width: 1, points: { show: false }, ...more });
    this.plot = new window.uPlot({
      width: this.box.clientWidth, height: this.box.clientHeight, padding: [10, 8, 0, 0],
      legend: { show: false },
      cursor: { y: false, points: { size: 6 }, drag: { setScale: false, x: false }, sync: { key: 'weir' } },
      scales: { x: { time: true, range: () => this.range }, y: { range: () => [0, this.most * 1.08] } },
      tzDate: (ts) => window.uPlot.tzDate(new Date(ts * 1000), 'Etc/UTC'),
      axes: [
        { ...axis, size: 24, gap: 4, space: 70, values: (_, ticks) => ticks.map((t) => clock(t * 1000).slice(0, ticks[1] - ticks[0] < 60 ? 8 : 5)) },
        { ...axis, size: 70, gap: 6, space: 28, values: (_, ticks) => ticks.map((n) => (n === 0 ? '0' : this.format(n))) },
      ],
      series: [
        {},
        line(colour('--accent'), { width: 1.5, fill: colour('--accent-soft') }),
        line(colour('--dim'), { dash: [3, 4] }),
        line('transparent'), line('transparent'),
        line(colour('--critical'), { dash: [6, 4], width: 1.25 }),
      ],
      bands: [{ series: [3, 4], fill: colour('--band') }],
      hooks: { setCursor: [(u) => this.tell(u.cursor.idx)] },
    }, this.data, this.box);
  }

  // tell writes the numbers at the cursor, or the newest.
  tell(at) {
    const under = this.shown[at], p = under?.[this.name] === undefined ? this.last : under;
    if (!p) return;
    const key = (kind, name, n) => el('span', {}, el('i.key.' + kind), name + ' ', el('b', {}, n));
    const when = p === this.last ? null : el('span.at', {}, clock(p.t * 1000));
    const mean = p[this.name + '_mean'];
    fill(this.legend, when, key('now', 'now', this.format(p[this.name])),
      mean === undefined ? el('span.learning', {}, 'what is usual is being learned')
        : [key('usual', 'usual', this.format(mean) + ' ± ' + this.format(3 * (p[this.name + '_stddev'] ?? 0))),
          p[this.name + '_alarm'] === undefined ? null : key('alarm', 'alarm', this.format(p[this.name + '_alarm']))]);
  }
}
