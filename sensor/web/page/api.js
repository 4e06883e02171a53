// The HTTP API of this origin. Changes carry the token, which is kept for this tab only.

const base = '/api/v1/';
const kept = 'weir.token';

export const token = {
  get: () => sessionStorage.getItem(kept) ?? '',
  set: (t) => (t ? sessionStorage.setItem(kept, t) : sessionStorage.removeItem(kept)),
};

// Refused is an answer that is no success.
export class Refused extends Error {
  constructor(code, body) {
    super(body?.error ?? 'the sensor answered ' + code);
    this.code = code;
    this.guard = body?.guard;
  }
}

function headers(more) {
  const t = token.get();
  return t ? { ...more, Authorization: 'Bearer ' + t } : { ...more };
}

async function answer(response) {
  if (response.ok) return response;
  throw new Refused(response.status, await response.json().catch(() => null));
}

// get reads one resource. What takes longer than ten seconds has failed.
export async function get(path) {
  const r = await fetch(base + path, { headers: headers(), cache: 'no-store', signal: AbortSignal.timeout(10_000) });
  return (await answer(r)).json();
}

// change asks for a change.
export async function change(method, path, body) {
  const r = await fetch(base + path, {
    method, headers: headers({ 'Content-Type': 'application/json' }), body: JSON.stringify(body), signal: AbortSignal.timeout(15_000),
  });
  return (await answer(r)).json().catch(() => ({}));
}

// download saves a resource as a file.
export async function download(path, name) {
  const blob = await (await answer(await fetch(base + path, { headers: headers() }))).blob();
  const a = document.createElement('a');
  a.href = URL.createObjectURL(blob);
  a.download = name;
  a.click();
  setTimeout(() => URL.revokeObjectURL(a.href), 60_000);
}

// Stream follows the events, for ever: it comes back by itself, from the last event on that it has seen.
export class Stream {
  static silence = 40_000; // ms: the server says something each 15 s

  constructor(take, told) {
    this.take = take; // (event, data)
    this.told = told; // (state, detail): connecting, live, lost {error, retry: time}, denied
    this.last = '';
    this.tries = 0;
    this.wake = null;
  }

  // retry does not wait any longer.
  retry() {
    this.wake?.();
  }

  async run() {
    for (;;) {
      let wait = 60_000;
      try {
        await this.read();
      } catch (e) {
        if (e instanceof Refused && e.code === 401) this.told('denied', { error: e.message });
        else this.told('lost', { error: reason(e), retry: Date.now() + (wait = this.pause()) });
      }
      await new Promise((done) => {
        const timer = setTimeout(done, wait);
        this.wake = () => { clearTimeout(timer); done(); };
      });
    }
  }

  // pause doubles up to 15 s; a part of it is chance, so that many pages do not come back at once.
  pause() {
    return Math.min(15_000, 500 * 2 ** Math.min(this.tries++, 6)) * (0.75 + Math.random() / 4);
  }

  async read() {
    const stop = new AbortController();
    let alarm = setTimeout(() => stop.abort(), Stream.silence);
    try {
      const h = headers({ Accept: 'text/event-stream' });
      if (this.last) h['Last-Event-ID'] = this.last;
      const response = await answer(await fetch(base + 'events', { headers: h, cache: 'no-store', signal: stop.signal }));
      this.tries = 0;
      this.told('live', {});
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      const lines = new Lines((event, id, data) => {
        if (id) this.last = id;
        this.take(event, data);
      });
      for (;;) {
        const { value, done } = await reader.read();
        if (done) throw new Error('the sensor ended the connection');
        clearTimeout(alarm);
        alarm = setTimeout(() => stop.abort(), Stream.silence);
        lines.add(value);
      }
    } finally {
      clearTimeout(alarm);
      stop.abort();
    }
  }
}

// Lines puts events together (HTML Living Standard, 9.2.6).
class Lines {
  constructor(emit) {
    this.emit = emit;
    this.rest = '';
    this.clear();
  }

  clear() {
    [this.event, this.id, this.data] = ['message', '', []];
  }

  add(text) {
    const all = (this.rest + text).split('\n');
    this.rest = all.pop();
    for (const line of all) this.line(line.endsWith('\r') ? line.slice(0, -1) : line);
  }

  line(line) {
    if (line === '') {
      if (this.data.length) this.emit(this.event, this.id, JSON.parse(this.data.join('\n')));
      this.clear();
      return;
    }
    const at = line.indexOf(':');
    if (at === 0) return; // a comment: the connection lives
    const field = at < 0 ? line : line.slice(0, at);
    const value = at < 0 ? '' : line.slice(at + 1).replace(/^ /, '');
    if (field === 'event') this.event = value;
    else if (field === 'id') this.id = value;
    else if (field === 'data') this.data.push(value);
  }
}

function reason(e) {
  if (e.name === 'AbortError') return 'the sensor was silent for too long';
  return e instanceof TypeError ? 'the sensor cannot be reached' : e.message;
}
