// The frame around the pages: header, banner, and which page an address shows.

import { Problem, choose, current, logOut, restore } from "./api.js";
import { cleanup, cleanups } from "./cleanups.js";
import { device, devices } from "./devices.js";
import { notify, told } from "./dialog.js";
import { h, place, update } from "./dom.js";
import { clock } from "./format.js";
import { keys } from "./keys.js";
import { lane, lanes } from "./lanes.js";
import { follow, live, onLive, unfollow } from "./live.js";
import { login } from "./login.js";
import { notification } from "./notification.js";
import { notifications } from "./notifications.js";
import { overview } from "./overview.js";
import { webhook } from "./webhook.js";
import { webhooks } from "./webhooks.js";

/**
 * What a page works with. `show` replaces the page, and does nothing once another page is open.
 * @typedef {{id: string, query: URLSearchParams, signal: AbortSignal,
 *   show: (...children: import("./dom.js").Child[]) => void, reload: () => void}} View
 * @typedef {(view: View) => void | Promise<void>} Page
 * @typedef {{title: string, list: Page, one?: Page, isAdmin?: boolean}} Room
 */

/** By the first part of the path below `/dashboard/`. @type {Record<string, Room>} */
const ROOMS = {
  "": { title: "Overview", list: overview },
  lanes: { title: "Lanes", list: lanes, one: lane },
  notifications: { title: "Notifications", list: notifications, one: notification },
  devices: { title: "Devices", list: devices, one: device },
  cleanups: { title: "Clean-ups", list: cleanups, one: cleanup, isAdmin: true },
  webhooks: { title: "Webhooks", list: webhooks, one: webhook, isAdmin: true },
  keys: { title: "Keys", list: keys, isAdmin: true },
};

let open = new AbortController();
let shownPath = "";
let followed = "";

/** Opens the page of an address. @param {string} href */
export function go(href) {
  history.pushState(null, "", href);
  render();
}

async function render() {
  open.abort();
  open = new AbortController();
  const { signal } = open;
  const [name, id = ""] = location.pathname.split("/").slice(2).map(decodeURIComponent);
  const main = place("main");
  const isNew = shownPath !== location.pathname;
  let isFirst = true;
  const view = {
    id,
    query: new URLSearchParams(location.search),
    signal,
    show: (/** @type {import("./dom.js").Child[]} */ ...children) => {
      if (signal.aborted) return;
      update(main, ...children);
      main.removeAttribute("aria-busy");
      if (isFirst && isNew) arrive();
      isFirst = false;
    },
    reload: () => void (signal.aborted || render()),
  };
  main.setAttribute("aria-busy", "true");
  try {
    await show(name, view);
  } catch (problem) {
    if (problem instanceof Problem && problem.status === 401) await showLogin(view);
    else view.show(failure(problem, name));
  }
}

/** @param {string} name @param {View} view */
async function show(name, view) {
  if (name === "login") return showLogin(view);
  const { app } = current();
  const room = ROOMS[name];
  if (followed !== app.app) {
    followed = app.app;
    follow(followed);
  }
  const page = view.id === "" ? room?.list : room?.one;
  header(name);
  document.title = `${view.id || room?.title || "Not found"} · ${app.app} · Pushpost`;
  if (page === undefined || (room.isAdmin && !app.admin)) {
    const text = page ? "This page needs a key with the scope admin." : "There is no such page.";
    view.show(h("h1", { tabindex: "-1" }, page ? room.title : "Not found"), h("p", null, text));
    return;
  }
  await page(view);
}

/** @param {View} view */
async function showLogin(view) {
  document.title = "Log in · Pushpost";
  if (location.pathname !== "/dashboard/login") {
    unfollow();
    followed = "";
    update(place("top"));
    update(place("banner"));
  }
  await login(view);
}

/** Where the reader is on a page that has just opened. */
function arrive() {
  if (shownPath !== "") {
    window.scrollTo(0, 0);
    place("main").querySelector("h1")?.focus({ preventScroll: true });
  }
  shownPath = location.pathname;
}

/** What is not there stays so, and leads to the list. @param {unknown} problem @param {string} name of the room that is open */
function failure(problem, name) {
  const isGone = problem instanceof Problem && problem.status === 404;
  return h("div.fault", { role: "alert" }, h("h1", { tabindex: "-1" }, isGone ? "Not found" : "This page could not be loaded"), told(problem),
    isGone ? h("a", { href: `/dashboard/${name}` }, `All ${ROOMS[name].title.toLowerCase()}`)
      : h("button", { type: "button", onclick: render }, "Try again"));
}

/** @param {string} name of the room that is open */
function header(name) {
  const { session, app } = current();
  const rooms = Object.entries(ROOMS).filter(([, room]) => !room.isAdmin || app.admin);
  const onchange = (/** @type {Event} */ event) => {
    const chosen = /** @type {HTMLSelectElement} */ (event.target);
    if (chosen.value !== "") choose(chosen.value);
    go(chosen.value === "" ? "/dashboard/login" : `/dashboard/${name}`);
    chosen.value = current().app.app;
  };
  const leave = () => logOut().then(render, (problem) => notify(String(problem.message)));
  update(place("top"),
    h("a.brand", { href: "/dashboard/" }, "pushpost"),
    h("label.unseen", { for: "app" }, "App"),
    h("select", { id: "app", onchange }, session.apps.map((one) =>
      h("option", { value: one.app, selected: one.app === app.app }, one.app)), h("option", { value: "" }, "Add an app…")),
    h("nav", { "aria-label": "Pages" }, rooms.map(([path, room]) =>
      h("a", { href: `/dashboard/${path}`, "aria-current": path === name && "page" }, room.title))),
    h("span.live", { id: "live" }),
    h("span.key", { title: app.key }, `${app.admin ? "admin" : "read only"} · ${app.name ?? app.key.slice(0, 10)}`),
    h("button", { type: "button", onclick: leave }, "Log out"));
  streamState();
}

/** Says how fresh the figures are. */
function streamState() {
  const mark = document.getElementById("live");
  if (mark === null) return;
  const { isUp, heardAt, snapshot } = live;
  mark.className = isUp ? "live up" : "live";
  update(mark, isUp ? "live" : heardAt === null ? "connecting" : "not live");
  const since = heardAt === null ? "" : `Figures are old since ${clock(heardAt)}. `;
  update(place("banner"), !isUp && heardAt !== null && h("p", null, `${since}The connection is lost; the dashboard reconnects by itself.`),
    isUp && snapshot?.events_off && h("p", null, "The event log is off (retention.events), so events are not shown."));
}

/** Links between pages do without loading the document anew. @param {MouseEvent} event */
function follows(event) {
  const target = event.target instanceof Element ? event.target.closest("a") : null;
  const isPlain = event.button === 0 && !event.metaKey && !event.ctrlKey && !event.shiftKey && !event.altKey;
  if (target === null || !isPlain || !target.pathname.startsWith("/dashboard") || target.hash !== "") return;
  event.preventDefault();
  go(target.href);
}

document.addEventListener("click", follows);
window.addEventListener("popstate", render);
onLive(new AbortController().signal, streamState);
restore().then(render, (problem) => update(place("main"), failure(problem, "")));
