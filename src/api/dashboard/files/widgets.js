// What pages are made of: states, tables, lists of facts, messages.

import { current } from "./api.js";
import { h } from "./dom.js";
import { words } from "./format.js";

/** @typedef {import("./dom.js").Child} Child */
/** @typedef {"good" | "wait" | "bad" | "off"} Tone */

/** Shapes, by which a state is told without its colour. */
const SHAPES = {
  disc: "M8 2a6 6 0 1 1 0 12A6 6 0 0 1 8 2z",
  ring: "M8 1.5a6.5 6.5 0 1 1 0 13 6.5 6.5 0 0 1 0-13zm0 2a4.5 4.5 0 1 0 0 9 4.5 4.5 0 0 0 0-9z",
  check: "M6.4 13 1.8 8.4l1.5-1.5 3.1 3 6.3-6.8 1.5 1.4z",
  cross: "M3.4 2 8 6.6 12.6 2 14 3.4 9.4 8l4.6 4.6-1.4 1.4L8 9.4 3.4 14 2 12.6 6.6 8 2 3.4z",
  bars: "M3.5 2.5h3v11h-3zm6 0h3v11h-3z",
  triangle: "M8 1.8 15 14H1zM7.2 6v4h1.6V6zm0 5v1.6h1.6V11z",
  half: "M8 1.5a6.5 6.5 0 1 1 0 13 6.5 6.5 0 0 1 0-13zm0 2v9a4.5 4.5 0 0 0 0-9z",
  octagon: "M5.2 1.5h5.6l3.7 3.7v5.6l-3.7 3.7H5.2l-3.7-3.7V5.2zM4.5 7v2h7V7z",
};

/** @type {Record<string, [keyof typeof SHAPES, Tone]>} */
const STATES = {
  running: ["disc", "good"], on: ["disc", "good"], active: ["disc", "good"], yes: ["check", "good"],
  done: ["check", "good"], accepted: ["check", "good"], restored: ["check", "good"], ok: ["check", "good"],
  throttled: ["half", "wait"], queued: ["ring", "wait"], sending: ["half", "wait"], pending: ["ring", "wait"],
  scheduled: ["ring", "off"], retry: ["half", "wait"], restoring: ["half", "wait"], late: ["triangle", "wait"],
  unknown: ["ring", "wait"], draining: ["half", "wait"], set_aside: ["triangle", "wait"],
  broken: ["triangle", "bad"], suspended: ["octagon", "bad"], braked: ["triangle", "bad"], failing: ["triangle", "bad"],
  failed: ["cross", "bad"], rejected: ["cross", "bad"], token_dead: ["cross", "bad"], expired: ["cross", "bad"],
  disabled: ["octagon", "bad"], refused: ["cross", "bad"], dead: ["cross", "bad"], no: ["cross", "bad"],
  paused: ["bars", "off"], cancelled: ["bars", "off"], quarantined: ["bars", "wait"], revoked: ["bars", "off"],
};

/** A state as shape and text. @param {string} word @param {string} [text] */
export function state(word, text) {
  const [shape, tone] = STATES[word] ?? ["ring", "off"];
  const icon = h("svg", { viewBox: "0 0 16 16", "aria-hidden": "true" }, h("path", { d: SHAPES[shape], "fill-rule": "evenodd" }));
  return h(`span.state.${tone}`, null, icon, text ?? words(word));
}

/** @param {string} href @param {...Child} children */
export function link(href, ...children) {
  return h("a", { href }, ...children);
}

/** @param {string} lane */
export function laneLink(lane) {
  return link(`/dashboard/lanes/${encodeURIComponent(lane)}`, lane);
}

/** A figure about what waits leads to the notifications that are not done. @param {...Child} children */
export function openLink(...children) {
  return link("/dashboard/notifications?status=queued&status=sending", ...children);
}

/** @param {string} path below `/dashboard/` @param {string} id @param {Child} [text] */
export function idLink(path, id, text) {
  return h("a.id", { href: `/dashboard/${path}/${encodeURIComponent(id)}` }, text ?? id);
}

/** What an operator can do, of which the page of the documents becomes a link. @param {string} text @returns {Child} */
export function advice(text) {
  const [before, page, anchor, after] = text.split(/ \(docs\/(\w+)\.md#([\w-]+)\)/);
  return page === undefined ? text : [before, " ", link(`/docs/${page}#${anchor}`, words(page)), after];
}

/** The title of a page. @param {Child} title @param {...Child} behind buttons and states */
export function heading(title, ...behind) {
  return h("div.heading", null, h("h1", { tabindex: "-1" }, title), ...behind);
}

/** @param {string} title @param {...Child} children */
export function section(title, ...children) {
  const id = title.toLowerCase().replaceAll(/[^a-z]+/g, "-");
  return h("section", { "data-key": id, "aria-labelledby": id }, h("h2", { id }, title), ...children);
}

/**
 * A table that scrolls sideways within its frame. A column with a title that begins with # holds figures.
 * @param {string} caption @param {string[]} columns @param {{key: string, cells: Child[]}[]} rows @param {Child} [empty]
 */
export function table(caption, columns, rows, empty) {
  if (rows.length === 0) return h("p.empty", null, empty ?? "There is nothing yet.");
  const numeric = columns.map((column) => column.startsWith("#"));
  const head = columns.map((column, at) =>
    h(numeric[at] ? "th.number" : "th", { scope: "col" }, column.replace("#", "") || h("span.unseen", null, "Actions")));
  const body = rows.map(({ key, cells }) => h("tr", { "data-key": key }, cells.map((cell, at) => {
    const name = at === 0 ? "th" : numeric[at] ? "td.number" : "td";
    return h(name, { scope: at === 0 && "row" }, cell);
  })));
  return h("div.frame", { role: "group", "aria-label": caption, tabindex: "0" },
    h("table", null, h("caption.unseen", null, caption), h("thead", null, h("tr", null, head)), h("tbody", null, body)));
}

/** Names and values. Values that are null are left out. @param {[string, Child][]} pairs */
export function facts(...pairs) {
  const shown = pairs.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return h("dl.facts", null, shown.map(([name, value]) => h("div", null, h("dt", null, name), h("dd", null, value))));
}

/** Links to the other pages of a list. @param {URLSearchParams} query @param {string | null} next @param {string} name */
export function pager(query, next, name = "cursor") {
  const to = (/** @type {string | null} */ cursor) => {
    const changed = new URLSearchParams(query);
    if (cursor === null) changed.delete(name);
    else changed.set(name, cursor);
    return `${location.pathname}${changed.size > 0 ? `?${changed}` : ""}`;
  };
  if (next === null && !query.has(name)) return null;
  return h("nav.pager", { "aria-label": "Pages of the list" },
    query.has(name) && link(to(null), "First page"), next !== null && link(to(next), "Next page"));
}

/** A button that only an `admin` session has. @param {string} text @param {() => void} onclick @param {string} [about] */
export function action(text, onclick, about) {
  if (!current().app.admin) return null;
  return h("button", { type: "button", onclick, "aria-label": about && `${text} ${about}` }, text);
}

/** @param {string} label @param {Child} control an element with an id @param {Child} [hint] */
export function field(label, control, hint) {
  const id = control instanceof Element ? control.id : "";
  return h("div.field", null, h("label", { for: id }, label), control, hint && h("p.quiet", null, hint));
}

/** @param {string} id also its name @param {[string, string][]} options value and text @param {string | null} chosen */
export function select(id, options, chosen) {
  return h("select", { id, name: id }, options.map(([value, text]) =>
    h("option", { value, selected: value === (chosen ?? "") }, text)));
}

/** The API's own answer. @param {unknown} value */
export function raw(value) {
  return h("details", { "data-key": "raw" }, h("summary", null, "As the API answers it"),
    h("pre", { tabindex: "0" }, JSON.stringify(value, null, 2)));
}
