// Elements out of text, and updates in place. No markup is ever parsed, so that no stored text can become markup.

/** @typedef {Node | string | number | null | undefined | false | Child[]} Child */

const SVG = "http://www.w3.org/2000/svg";
const SVG_TAGS = new Set(["svg", "path", "rect", "line"]);
const HANDLERS = /** @type {const} */ (["onclick", "onsubmit", "onchange"]);

/**
 * An element. Functions among the attributes are event handlers; false, null and undefined leave an attribute out.
 * @param {string} name a tag, with classes behind points: `td.number`
 * @param {Record<string, any> | null} [attributes]
 * @param {...Child} children
 * @returns {HTMLElement}
 */
export function h(name, attributes, ...children) {
  const [tag, ...classes] = name.split(".");
  const made = SVG_TAGS.has(tag) ? document.createElementNS(SVG, tag) : document.createElement(tag);
  const element = /** @type {HTMLElement} */ (made);
  if (classes.length > 0) element.setAttribute("class", classes.join(" "));
  for (const [key, value] of Object.entries(attributes ?? {})) {
    if (typeof value === "function") Object.assign(element, { [key]: value });
    else if (value !== false && value !== null && value !== undefined) {
      element.setAttribute(key, value === true ? "" : String(value));
    }
  }
  element.append(...nodes(children));
  return element;
}

/**
 * Makes the children of an element equal to these, keeping what can be kept: focus, selection, typed text, open details.
 * @param {Element} parent
 * @param {...Child} children
 */
export function update(parent, ...children) {
  const made = nodes(children);
  const wanted = new Map(made.map((node) => [key(node), node.nodeName]));
  // What goes is removed first: an element that is moved past it loses the focus.
  for (const child of [...parent.children]) if (key(child) !== undefined && wanted.get(key(child)) !== child.nodeName) child.remove();
  const keyed = new Map([...parent.children].map((child) => [key(child), child]));
  let next = parent.firstChild;
  for (const node of made) {
    const name = key(node);
    const old = name === undefined ? next : (keyed.get(name) ?? null);
    if (old !== null && old.nodeName === node.nodeName && key(old) === name) {
      if (old !== next) parent.insertBefore(old, next);
      copy(old, node);
      next = old.nextSibling;
    } else {
      parent.insertBefore(node, next);
    }
  }
  while (next !== null) {
    const rest = next.nextSibling;
    next.remove();
    next = rest;
  }
}

/** @param {Node} node */
function key(node) {
  return node instanceof HTMLElement ? node.dataset.key : undefined;
}

/** @param {Node} old @param {Node} node */
function copy(old, node) {
  if (!(old instanceof Element && node instanceof Element)) {
    if (old.nodeValue !== node.nodeValue) old.nodeValue = node.nodeValue;
    return;
  }
  for (const { name } of [...old.attributes]) {
    if (!node.hasAttribute(name) && name !== "open") old.removeAttribute(name);
  }
  for (const { name, value } of node.attributes) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  const from = /** @type {HTMLElement} */ (node);
  for (const handler of HANDLERS) Object.assign(old, { [handler]: from[handler] });
  update(old, ...node.childNodes);
}

/** @param {Child[]} children @returns {Node[]} */
function nodes(children) {
  return children.flatMap((child) => {
    if (child === null || child === undefined || child === false) return [];
    if (Array.isArray(child)) return nodes(child);
    return [child instanceof Node ? child : document.createTextNode(String(child))];
  });
}

/** The element with this id, which index.html has. @param {string} id */
export function place(id) {
  return /** @type {HTMLElement} */ (document.getElementById(id));
}
