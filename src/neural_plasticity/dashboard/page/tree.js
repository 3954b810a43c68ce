// What a view wants to see, as a light tree, and the page brought to it with as few changes as can be: so focus, scrolling and
// opened tables survive a run that tells something new ten times a second.
//
// There is no way from here to the parser of HTML: text becomes text nodes, and attributes that run code are refused.

const SVG = "http://www.w3.org/2000/svg";
const SVG_TAGS = new Set(["svg", "path", "circle", "rect", "line", "g", "polyline"]);
const LIVE_PROPERTIES = new Set(["value", "checked", "disabled", "selected", "open", "indeterminate"]);

// A node. Props: attributes; `on: {event: listener}`; `style: {"--name": value}`; `key`, which tells siblings apart;
// `draw: (element) => …` with `drawn`, a value that changes when it has to be drawn again; `gone: (element) => …` at its end.
// What `drawn` says holds for one source only: from another one everything is drawn again.
export function h(tag, props, ...children) {
  return { tag, props: props ?? {}, key: props?.key, children: children.flat(Infinity).filter(isShown).map(asNode) };
}

function isShown(child) {
  return child !== null && child !== undefined && child !== false && child !== "";
}

function asNode(child) {
  return typeof child === "object" ? child : { text: String(child) };
}

let sourceNow = null;

// Make the children of an element what these nodes say of this source.
export function render(parent, nodes, source) {
  sourceNow = source;
  patchChildren(parent, [nodes].flat(Infinity).filter(isShown).map(asNode));
}

function patchChildren(parent, nodes) {
  const held = new Map();
  const loose = [];
  for (const child of [...parent.childNodes]) {
    const key = child.itsNode?.key;
    if (key === undefined) loose.push(child);
    else held.set(key, child);
  }
  let place = parent.firstChild;
  const used = new Set();
  for (const node of nodes) {
    const old = node.key === undefined ? takeLoose(loose, node) : fitting(held.get(node.key), node);
    const now = old ?? created(node);
    used.add(now);
    if (now === place) place = place.nextSibling;
    else parent.insertBefore(now, place);
    patch(now, node);
  }
  for (const child of [...parent.childNodes]) if (!used.has(child)) dropped(child);
}

function takeLoose(loose, node) {
  const place = loose.findIndex((child) => fitting(child, node));
  if (place < 0 || place > 3) return null; // far away: cheaper to make anew than to move everything between
  return loose.splice(0, place + 1).at(-1);
}

function fitting(child, node) {
  if (!child) return null;
  if (node.text !== undefined) return child.nodeType === Node.TEXT_NODE ? child : null;
  return child.nodeType === Node.ELEMENT_NODE && child.itsNode?.tag === node.tag ? child : null;
}

function created(node) {
  if (node.text !== undefined) return document.createTextNode(node.text);
  return SVG_TAGS.has(node.tag) ? document.createElementNS(SVG, node.tag) : document.createElement(node.tag);
}

function patch(element, node) {
  if (node.text !== undefined) {
    if (element.data !== node.text) element.data = node.text;
    return;
  }
  const before = element.itsNode?.props ?? {};
  const { props } = node;
  element.itsNode = node;
  for (const name of Object.keys(before)) if (!(name in props)) setProp(element, name, null, before[name]);
  if (!props.draw) patchChildren(element, node.children);
  for (const [name, value] of Object.entries(props)) setProp(element, name, value, before[name]);
  if (props.draw && (props.drawn !== element.itsDrawing || sourceNow !== element.itsSource)) {
    Object.assign(element, { itsDrawing: props.drawn, itsSource: sourceNow });
    props.draw(element);
  }
}

function setProp(element, name, value, before) {
  if (["key", "draw", "drawn", "gone"].includes(name)) return;
  if (name === "on") return listen(element, value ?? {});
  if (name === "style") return restyle(element, value ?? {}, before ?? {});
  if (/^on/i.test(name) || name === "srcdoc" || name === "innerHTML")
    throw new Error(`An attribute ${name} would run what it holds.`);
  if (LIVE_PROPERTIES.has(name)) {
    if (name === "open" && before === value) return; // a reader may have opened it
    if (element[name] !== (value ?? "")) element[name] = value ?? "";
    return;
  }
  if (value === before) return;
  if (value === null || value === undefined || value === false) element.removeAttribute(name);
  else element.setAttribute(name, value === true ? "" : value);
}

function restyle(element, style, before) {
  for (const name of Object.keys(before)) if (!(name in style)) element.style.removeProperty(name);
  for (const [name, value] of Object.entries(style)) if (before[name] !== value) element.style.setProperty(name, value);
}

// One listener of the document's own for each kind of event; which function it calls changes with every rendering.
function listen(element, listeners) {
  element.itsListeners ??= {};
  for (const kind of Object.keys(element.itsListeners)) if (!(kind in listeners)) element.itsListeners[kind] = null;
  for (const [kind, listener] of Object.entries(listeners)) {
    if (!(kind in element.itsListeners)) element.addEventListener(kind, (event) => element.itsListeners[kind]?.(event));
    element.itsListeners[kind] = listener;
  }
}

function dropped(child) {
  if (child.nodeType === Node.ELEMENT_NODE) {
    for (const inner of [child, ...child.querySelectorAll("*")]) inner.itsNode?.props.gone?.(inner);
  }
  child.remove();
}
