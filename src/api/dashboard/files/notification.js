// One notification: why it took so long, its counts, its devices.

import { Problem, change, current, get, query } from "./api.js";
import { ask, notify } from "./dialog.js";
import { h } from "./dom.js";
import { count, counted, time, words } from "./format.js";
import { redraw } from "./live.js";
import { took } from "./notifications.js";
import { whySection } from "./why.js";
import { action, facts, heading, idLink, link, pager, raw, section, state, table } from "./widgets.js";

/** @typedef {import("./main.js").View} View */
/** @typedef {{notification: Api.Notification, why: Api.WhyAnswer | null, deliveries: Api.DeliveryList}} Found */

const COUNTS = /** @type {const} */ (["pending", "accepted", "unknown", "rejected", "token_dead", "expired", "cancelled"]);

/** @type {import("./main.js").Page} */
export async function notification(view) {
  /** @type {Found} */
  let found;
  const draw = async () => {
    found = await load(view);
    view.show(page(view, found));
  };
  await redraw(view.signal, draw, () => isOpen(found.notification));
}

/** Whether devices of the notification can still change. @param {Api.Notification} notification */
function isOpen({ counts, done_at }) {
  return done_at === null || counts.pending > 0;
}

/** @param {View} view @returns {Promise<Found>} */
async function load({ id, query: asked }) {
  const path = `notifications/${encodeURIComponent(id)}`;
  const filters = { status: asked.getAll("status"), user: asked.get("user"), cursor: asked.get("cursor"), limit: "50" };
  const [notification, why, deliveries] = await Promise.all([
    get(path),
    get(`${path}/why${query({ device: asked.get("device") })}`).catch((problem) => {
      if (problem instanceof Problem && problem.status === 404) return null;
      throw problem;
    }),
    get(`${path}/deliveries${query(filters)}`),
  ]);
  return { notification, why, deliveries };
}

/** @param {View} view @param {Found} found */
function page(view, { notification, why, deliveries }) {
  const { id, unmatched } = notification;
  const copy = () => navigator.clipboard?.writeText(id).then(() => notify("The id is copied."), () => notify("The browser did not allow it."));
  const missing = unmatched.users_total + unmatched.devices_total;
  return [
    heading(notification.label ? `“${notification.label}”` : "Notification", state(notification.status),
      h("div.buttons", null,
        notification.status !== "cancelled" && isOpen(notification) && action("Cancel", () => cancel(view, notification)),
        h("button", { type: "button", onclick: copy }, "Copy id"),
        notification.trace_url && link(notification.trace_url, "Trace"))),
    h("p.quiet", null, h("code", null, id), ` · ${notification.priority} priority`),
    whySection(why, view.query.has("device")),
    section("Devices", countLinks(view, notification.counts), deliveryTable(view, deliveries)),
    missing > 0 && h("p", null, `${counted(missing, "name")} of the request led to no device: `,
      [...unmatched.users, ...unmatched.devices].slice(0, 10).join(", ")),
    facts(["Created", time(notification.created_at)], ["Send at", notification.send_at && time(notification.send_at)],
      ["Started", time(notification.started_at)], ["Done", time(notification.done_at)], ["Took", took(notification)],
      ["Expires", time(notification.expires_at)], ["Metadata", notification.metadata && JSON.stringify(notification.metadata)]),
    raw(notification),
  ];
}

/** Each count leads to its devices. @param {View} view @param {Api.DeliveryCounts} counts */
function countLinks(view, counts) {
  const chosen = view.query.getAll("status");
  const path = `/dashboard/notifications/${encodeURIComponent(view.id)}`;
  const one = (/** @type {string} */ href, /** @type {number} */ value, /** @type {string} */ text, /** @type {boolean} */ isChosen) =>
    h("a", { href, "aria-current": isChosen && "true" }, h("b", null, count(value)), ` ${text}`);
  return h("nav.counts", { "aria-label": "Devices by status" }, one(path, counts.targets, "all", chosen.length === 0),
    COUNTS.filter((name) => counts[name] > 0 || chosen.includes(name)).map((name) =>
      one(`${path}?status=${name}`, counts[name], words(name), chosen.length === 1 && chosen[0] === name)));
}

/** @param {View} view @param {Api.DeliveryList} deliveries */
function deliveryTable(view, { items, next_cursor }) {
  const rows = items.map((delivery, at) => {
    const why = new URLSearchParams(view.query);
    if (delivery.device !== null) why.set("device", delivery.device);
    return { key: delivery.device ?? `${at}`, cells: [
      delivery.device === null ? "–" : idLink("devices", delivery.device), delivery.user ?? "–", delivery.platform ?? "–",
      state(delivery.status), count(delivery.attempts), h("code", null, delivery.reason ?? delivery.last_reason ?? "–"),
      delivery.next_attempt_at ? ["next attempt ", time(delivery.next_attempt_at)] : time(delivery.at),
      delivery.device !== null && h("a", { href: `${location.pathname}?${why}`, "aria-label": `Why, for ${delivery.device}` }, "Why"),
    ] };
  });
  const columns = ["Device", "User", "Platform", "Status", "#Attempts", "Reason", "At", ""];
  return [table("Deliveries", columns, rows, "No device here yet."), pager(view.query, next_cursor)];
}

/** @param {View} view @param {Api.Notification} notification */
function cancel(view, { id, label, counts }) {
  ask({
    title: `Cancel the notification ${label ?? id}?`,
    text: [
      h("p", null, `${counted(counts.pending, "device")} that no provider has yet will not get it. This can't be undone.`),
      h("p", null, "What was accepted stays on the phones."),
    ],
    yes: "Cancel the notification",
    run: async () => {
      await change("DELETE", `notifications/${encodeURIComponent(id)}`);
      view.reload();
      return `Notification ${label ?? id} is cancelled, in the app ${current().app.app}.`;
    },
  });
}
