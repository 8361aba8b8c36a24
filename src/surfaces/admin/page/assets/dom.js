// Elements from data, and new ones put in the place of old ones without anybody losing their place.
//
// A text only ever becomes a text node or the value of an attribute; nothing here reads markup.

const SVG = "http://www.w3.org/2000/svg";

/** An element. `on…` are handlers, `key` says which one it is among its siblings, false and null leave an attribute out. */
export function h(tag, attributes, ...children) {
  return build(document.createElement(tag), attributes, children);
}

/** The same, of a drawing. */
export function s(tag, attributes, ...children) {
  return build(document.createElementNS(SVG, tag), attributes, children);
}

function build(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (name.startsWith("on")) node[name] = value;
    else if (name === "key") node.dataset.key = value;
    else if (name === "value") continue;
    else if (name === "checked") node.checked = value;
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  // A select takes its value when its options are there.
  if (attributes && "value" in attributes) node.value = attributes.value;
  return node;
}

/** Makes what `old` holds look like `fresh`, and keeps every element that can stay: with its focus, its place, its text. */
export function patch(old, fresh) {
  patchAttributes(old, fresh);
  patchChildren(old, fresh);
}

/** Makes these the children of an element, which itself stays as it is. */
export function fill(old, ...children) {
  patchChildren(old, h(old.nodeName, {}, ...children));
}

const HANDLERS = ["onblur", "onclick", "onsubmit", "onchange", "oninput"];
const keyOf = (node) => node.dataset?.key ?? null;
const isSame = (one, other) =>
  one.nodeType === other.nodeType && one.nodeName === other.nodeName && keyOf(one) === keyOf(other);

function patchAttributes(old, fresh) {
  // What a person has opened stays open; what they have typed stays until the view has taken it. A new reason opens anew.
  const opens = fresh.hasAttribute("data-opens") && !old.hasAttribute("data-opens");
  const isTheirs = (name) => (old.nodeName === "DETAILS" && name === "open" && !opens) || (old.nodeName === "INPUT" && name === "data-draft");
  for (const { name } of [...old.attributes]) {
    if (!fresh.hasAttribute(name) && !isTheirs(name)) old.removeAttribute(name);
  }
  for (const { name, value } of fresh.attributes) {
    if (old.getAttribute(name) !== value && !isTheirs(name)) old.setAttribute(name, value);
  }
  for (const name of HANDLERS) if (old[name] !== fresh[name]) old[name] = fresh[name];
  if (old.nodeName === "INPUT" && old !== document.activeElement && !("draft" in old.dataset) && !old.validity.badInput) old.value = fresh.value;
  if (old.nodeName === "INPUT") old.checked = fresh.checked;
}

function patchChildren(old, fresh) {
  const keyed = new Map([...old.childNodes].filter(keyOf).map((child) => [keyOf(child), child]));
  const wanted = new Set([...fresh.childNodes].map(keyOf));
  let at = old.firstChild;
  for (const next of [...fresh.childNodes]) {
    // What goes makes room first: what is moved instead would lose the focus.
    while (at && keyOf(at) !== null && !wanted.has(keyOf(at))) {
      const gone = at;
      at = at.nextSibling;
      gone.remove();
    }
    const match = keyOf(next) !== null ? keyed.get(keyOf(next)) : at;
    if (match && isSame(match, next)) {
      if (match === at) at = at.nextSibling;
      else old.insertBefore(match, at);
      if (match.nodeType === Node.TEXT_NODE) {
        if (match.data !== next.data) match.data = next.data;
      } else patch(match, next);
    } else if (at && keyOf(at) === null && keyOf(next) === null) {
      const gone = at;
      at = at.nextSibling;
      old.replaceChild(next, gone);
    } else old.insertBefore(next, at);
  }
  while (at) {
    const gone = at;
    at = at.nextSibling;
    gone.remove();
  }
  if (old.nodeName === "SELECT" && old !== document.activeElement) old.value = fresh.value;
}

/** What was told is read out, and gone before it is true no more. */
const HEARD_MS = 10_000;
let telling = [];

/** Tells people who listen. Nothing: what was told is over. */
export function say(text = "") {
  const spoken = document.getElementById("spoken");
  telling.forEach(clearTimeout);
  spoken.textContent = "";
  telling = text ? [setTimeout(() => { spoken.textContent = text; }, 60), setTimeout(() => { spoken.textContent = ""; }, HEARD_MS)] : [];
}
