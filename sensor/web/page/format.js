// Numbers, times and names as people read them. Times are UTC, as in alerts and logs.

const steps = [[1e12, 'T'], [1e9, 'G'], [1e6, 'M'], [1e3, 'k']];

// scaled is a number with three digits and its prefix: 12.3 k.
export function scaled(n, unit = '') {
  if (n === undefined || n === null || !Number.isFinite(n)) return '–';
  const abs = Math.abs(n);
  for (const [size, prefix] of steps) {
    if (abs >= size * 0.9995) return (n / size).toPrecision(3) + ' ' + prefix + unit;
  }
  const text = abs >= 100 || Number.isInteger(n) ? n.toFixed(0) : abs >= 1 ? n.toPrecision(3) : n === 0 ? '0' : n.toPrecision(2);
  return unit.startsWith('/') ? text + unit : unit ? text + ' ' + unit : text;
}

export const count = (n) => (n === undefined ? '–' : Number(n).toLocaleString('en-GB', { maximumFractionDigits: 3 }));
export const bits = (n) => scaled(n, 'bit/s');
export const bytes = (n) => scaled(n, 'B');

// percent of a share.
export function percent(share) {
  if (!Number.isFinite(share)) return '–';
  const p = share * 100;
  return (p === 0 ? '0' : p < 0.01 ? '< 0.01' : p < 10 ? p.toPrecision(2).replace(/\.?0+$/, '') : p.toFixed(0)) + ' %';
}

// value is a number of an alert with its unit.
export function value(n, unit) {
  if (/^(B|B\/s|bit\/s)$/.test(unit)) return scaled(n, unit);
  const text = Math.abs(n) >= 1e6 ? scaled(n) : count(n);
  return unit === '%' ? text + ' %' : unit ? text + ' ' + unit : text;
}

const two = (n) => String(n).padStart(2, '0');

// clock is the time of day of an RFC 3339 time.
export function clock(time) {
  const d = new Date(time);
  return Number.isNaN(d.getTime()) ? '–' : two(d.getUTCHours()) + ':' + two(d.getUTCMinutes()) + ':' + two(d.getUTCSeconds());
}

// stamp is a date and time, with the day left out where it is today.
export function stamp(time, now = Date.now()) {
  const d = new Date(time);
  if (Number.isNaN(d.getTime())) return '–';
  const day = d.toISOString().slice(0, 10);
  return (day === new Date(now).toISOString().slice(0, 10) ? '' : day + ' ') + clock(time);
}

// span is a length of time, in seconds, in its two largest units.
export function span(seconds) {
  let s = Math.max(0, seconds);
  if (s < 1) return Math.round(s * 1000) + ' ms';
  if (s < 10 && !Number.isInteger(s)) return s.toFixed(1) + ' s';
  s = Math.round(s);
  if (s < 60) return s + ' s';
  if (s < 3600) return Math.floor(s / 60) + ' min' + (s % 60 ? ' ' + two(s % 60) + ' s' : '');
  if (s < 86400) return Math.floor(s / 3600) + ' h' + (Math.floor(s / 60) % 60 ? ' ' + two(Math.floor(s / 60) % 60) + ' min' : '');
  return Math.floor(s / 86400) + ' d' + (Math.floor(s / 3600) % 24 ? ' ' + two(Math.floor(s / 3600) % 24) + ' h' : '');
}

export const since = (time, now) => (now - Date.parse(time)) / 1000;

// words is a name of the program as words: no_return_path.
export const words = (name) => String(name ?? '').replaceAll('_', ' ');

// cause is a stage and why it lost something there: capture.kernel.
export const cause = (name) => words(name).replace('.', ' · ');

// party is a subject or a victim: who and where.
export function party(p) {
  if (!p) return '';
  const who = p.ip ?? p.prefix ?? (p.asn ? 'AS' + p.asn : p.country ? 'country ' + p.country : '');
  if (!p.port) return who;
  return (who.includes(':') ? '[' + who + ']' : who) + ':' + p.port + (p.protocol ? '/' + p.protocol : '');
}

export const severities = ['info', 'low', 'medium', 'high', 'critical'];
export const rank = (severity) => Math.max(0, severities.indexOf(severity));

// sentence is what an error says, as a sentence of the page.
export const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? '' : '.');
