// What packets carried is hostile text. It gets into the page here and nowhere else: as text nodes and as values of attributes
// whose names are fixed. No markup is ever parsed.

const unseen = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]/g;

// plain shows characters that cannot be seen, or that turn the direction of others, by their numbers.
export function plain(value) {
  return String(value ?? '').replace(unseen, (c) => '\\u' + c.charCodeAt(0).toString(16).padStart(4, '0'));
}

// el makes an element: attributes by name, on… as listeners, children as text or nodes; null and false are left out.
export function el(tag, attributes, ...children) {
  const [name, ...classes] = tag.split('.');
  const e = document.createElement(name);
  if (classes.length) e.className = classes.join(' ');
  for (const [key, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === 'function') e.addEventListener(key.slice(2), value);
    else e.setAttribute(key, value === true ? '' : plain(value));
  }
  put(e, ...children);
  return e;
}

function put(e, ...children) {
  for (const c of children.flat(Infinity)) {
    if (c === null || c === undefined || c === false) continue;
    e.append(c instanceof Node ? c : plain(c));
  }
}

// fill replaces what an element has.
export function fill(e, ...children) {
  e.replaceChildren();
  put(e, ...children);
  return e;
}

// say sets an element's text, if it is another one.
export function say(e, text) {
  const t = plain(text);
  if (e.textContent !== t) e.textContent = t;
}

export const byId = (id) => document.getElementById(id);
