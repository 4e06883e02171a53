// Drops: the list, and the forms by which a person changes it. Each change needs the token.
import { change, get, Refused, token } from './api.js';
import { byId, el, fill, say } from './dom.js';
import { bytes, count, scaled, sentence, span, words } from './format.js';
import { dropStates, effect } from './detail.js';

const inView = 200; // more are only counted

// showDrops lists drops, what needs a person first.
export function showDrops(state, open, now) {
  const box = byId('drops'), { drops } = state;
  if (!drops) return void fill(box, el('p.none', {}, state.dropsError ?? 'Reading the drops…'));
  const order = { pending: 0, refused: 1, wanted: 2, applied: 3, shadow: 4 };
  const list = [...(drops.drops ?? [])].sort((a, b) => (order[a.state] ?? 9) - (order[b.state] ?? 9) || Date.parse(b.created ?? 0) - Date.parse(a.created ?? 0));
  const pending = list.filter((d) => d.state === 'pending').length;
  const n = byId('drops-n');
  fill(n, el('b' + (drops.enforced < drops.wanted ? '.bad' : ''), {}, count(drops.enforced) + ' of ' + count(drops.wanted)), ' in force', pending ? [', ', el('b.warn', {}, pending + ' to approve')] : '');
  if (!list.length) return void fill(box, el('p.none', {}, state.status?.mode === 'sense' ? 'Nothing is asked to be dropped. This sensor only watches.' : 'Nothing is dropped.'));
  const had = document.activeElement?.closest?.('#drops .drop')?.dataset.id;
  fill(box, list.slice(0, inView).map((d) => el('button.drop.d-' + (dropStates.has(d.state) ? d.state : 'wanted'), { type: 'button', 'data-id': d.id, onclick: () => open(d.id) },
    el('code.target', {}, d.target ?? d.key), el('span.left', { 'data-until': d.until }, left(d.until, now)),
    el('span.what', {}, words(effect(d)) + (d.state === 'applied' ? '' : ' · ' + words(d.state)) + (d.gates?.some((g) => g.error) ? ' · error' : '')),
    el('span.hits', {}, d.packets ? scaled(d.packets) + ' pkt, ' + bytes(d.bytes) : 'no hit yet'),
    el('span.reason', {}, d.reason))), list.length > inView ? el('p.none', {}, count(list.length - inView) + ' more: weir bans list') : null);
  if (had) [...box.children].find((e) => e.dataset.id === had)?.focus();
}

// tickDrops counts down.
export function tickDrops(now) {
  for (const e of document.querySelectorAll('#drops .left')) say(e, left(e.dataset.until, now));
}

function left(until, now) {
  if (!until) return '';
  const s = (Date.parse(until) - now) / 1000;
  return s <= 0 ? 'over' : s < 3600 ? span(Math.floor(s)) : span(Math.floor(s / 60) * 60);
}

// ask shows a form over the page and waits for it: done tries, and the form stays with what was refused. Resolves to done's
// result, or to nothing where the form was closed.
function ask(title, text, fields, submit, done) {
  const dialog = byId('ask');
  return new Promise((resolve) => {
    let result;
    const problem = el('p.problem', { role: 'alert' }), button = el('button.main', { type: 'submit' }, submit);
    const form = el('form', { onsubmit: async (e) => {
      e.preventDefault();
      button.disabled = true;
      say(problem, '');
      try {
        result = await done(Object.fromEntries(new FormData(form)));
        dialog.close();
      } catch (err) {
        say(problem, refusal(err));
        for (const secret of form.querySelectorAll('[type=password]')) {
          secret.value = '';
          secret.focus();
        }
      }
      button.disabled = false;
    } }, el('h2', { id: 'ask-h' }, title), text && el('p', {}, text), fields, problem,
    el('div.actions', {}, button, el('button', { type: 'button', onclick: () => dialog.close() }, 'Cancel')));
    fill(dialog, form);
    dialog.onclose = () => { fill(dialog); resolve(result); };
    dialog.showModal();
    (form.querySelector('input:not([value]), input') ?? button).focus();
  });
}

const refusal = (e) => (e.guard ? 'Refused by the guard ' + e.guard + ': ' + e.message : sentence(e.message));

const field = (label, input, hint) => el('label.field', {}, el('span', {}, label), input, hint && el('small', {}, hint));

// askToken asks for the token, and tries it: a wrong one is refused for reading, too.
export function askToken(why) {
  return ask('Token', why, [
    field('Token of this sensor', el('input', { name: 'token', type: 'password', required: true, autocomplete: 'off', spellcheck: 'false', maxlength: 500 }),
      'It stands in the file web.token of the state folder, or where web.token_file says. It is kept for this tab only.'),
  ], 'Use it', async ({ token: t }) => {
    token.set(t.trim());
    try {
      await get('status');
    } catch (e) {
      token.set('');
      throw e instanceof Refused && e.code === 401 ? new Error('the sensor refuses that token') : e;
    }
    dispatchEvent(new Event('weir-token'));
    return true;
  });
}

// changed makes a change with the token, and asks for one where there is none or the sensor refuses it. Other refusals are
// the caller's.
export async function changed(method, path, body) {
  if (!token.get() && !(await askToken('Changes need the token.'))) return null;
  for (;;) {
    try {
      return await change(method, path, body);
    } catch (e) {
      if (!(e instanceof Refused) || e.code !== 401) throw e;
      token.set('');
      dispatchEvent(new Event('weir-token'));
      if (!(await askToken('The sensor does not take the token any more.'))) return null;
    }
  }
}

// changeAfter asks for what a change needs, and makes it. A refusal stands in the form, with what was filled in; the token has a form
// of its own.
async function changeAfter(title, text, fields, submit, make) {
  let filled = null, problem = null;
  for (;;) {
    const body = await ask(title, problem ? el('span.problem', { role: 'alert' }, problem) : text, fields(filled ?? {}), submit, async (v) => v);
    if (!body) return null;
    filled = body;
    try {
      return await changed(...make(body));
    } catch (e) {
      problem = refusal(e);
    }
  }
}

// removeDrop and approveDrop ask for a reason.
export const removeDrop = (d) => changeAfter('Remove the drop of ' + (d.target ?? d.key) + '?', 'What it hits passes again at once. What it had cost the source is forgiven.', (was) => [
  field('Reason', el('input', { name: 'reason', maxlength: 300, value: was.reason ?? '', autocomplete: 'off' }), 'For those who look it up later; may be empty.'),
], 'Remove', ({ reason }) => ['DELETE', 'drops/' + encodeURIComponent(d.id), { reason }]);

export const approveDrop = (d) => changeAfter('Approve the drop of ' + (d.target ?? d.key) + '?', d.reason, (was) => [
  field('Reason', el('input', { name: 'reason', maxlength: 300, value: was.reason ?? '', autocomplete: 'off' })),
], 'Approve', ({ reason }) => ['POST', 'drops/' + encodeURIComponent(d.id) + '/approve', { reason }]);

const actions = [['', 'drop; a service: limit'], ['drop', 'drop: every packet'], ['drop_new', 'drop_new: new TCP connections'],
  ['limit_new', 'limit_new: new TCP connections above a rate'], ['limit', 'limit: a service, above a rate']];

// addDrop asks what to drop.
export const addDrop = (first) => changeAfter('Add a drop', 'The guards are asked as for any other: what must never be dropped is refused.', (was) => {
  const v = { ...first, ...was };
  return [
    field('Target', el('input', { name: 'target', required: true, value: v.target, placeholder: '203.0.113.7, 203.0.113.0/24 or 198.51.100.1:443/tcp', spellcheck: 'false', autocomplete: 'off', maxlength: 100 })),
    el('div.pair', {},
      field('For', el('input', { name: 'for', required: true, value: v.for ?? '1h', pattern: '([0-9]+(d|h|m|s))+', title: 'like 90s, 30m, 1h or 7d', autocomplete: 'off' }), '90s, 30m, 1h, 7d'),
      field('Rate', el('input', { name: 'rate', type: 'number', min: 1, max: 4294967295, value: v.rate }), 'a second; of limits')),
    field('Action', el('select', { name: 'action' }, actions.map(([value, text]) => el('option', { value, selected: v.action === value }, text)))),
    field('Reason', el('input', { name: 'reason', required: true, value: v.reason, maxlength: 300, autocomplete: 'off' })),
    el('label.check', {}, el('input', { name: 'shadow', type: 'checkbox', checked: v.shadow === 'on' }), ' Only count what it would hit'),
  ];
}, 'Add it', (v) => ['POST', 'drops', { target: v.target.trim(), for: v.for.trim(), reason: v.reason.trim(), ...(v.action && { action: v.action }), ...(v.rate && { rate: Number(v.rate) }), ...(v.shadow && { shadow: true }) }]);
