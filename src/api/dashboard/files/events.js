// Events of the log as sentences.

import { current, get } from "./api.js";
import { h } from "./dom.js";
import { count, counted, short, time } from "./format.js";
import { idLink, laneLink } from "./widgets.js";

/** @typedef {import("./dom.js").Child} Child */

/** Names of keys by their ids, as they were looked up last. @type {Map<string, string | null>} */
let keyNames = new Map();

/** Looks up the names of the keys that events have the ids of. Without an answer the ids are told. */
export async function nameKeys() {
  if (!current().app.admin) return;
  /** @type {Api.KeyList | null} */
  const keys = await get("admin/keys?limit=1000").catch(() => null);
  keyNames = new Map(keys?.items.map(({ id, name }) => [id, name]));
}

/** @param {Record<string, number>} counts */
function outcomes(counts) {
  const told = Object.entries(counts).filter(([name, value]) => value > 0 && name !== "targets" && name !== "pending");
  return told.map(([name, value]) => `${count(value)} ${name.replaceAll("_", " ")}`).join(", ") || "no device";
}

/** What happened. Members that a later version adds are not told. @param {string} type @param {any} data @returns {Child} */
function sentence(type, data) {
  const notification = () => idLink("notifications", data.notification, short(data.notification));
  const devices = () => counted((data.devices?.length ?? 0) + (data.devices_omitted ?? 0), "device");
  switch (type) {
    case "notification.done":
    case "notification.cancelled":
      return [notification(), data.label && ` “${data.label}”`, ` ${outcomes(data.counts)}`];
    case "device.quarantined":
      return [`${devices()} quarantined: ${data.devices?.[0]?.reason ?? data.cause}`];
    case "device.restored":
    case "device.corrected":
      return [devices(), ` by ${data.cause}`];
    case "lane.changed":
      return [data.lane && laneLink(data.lane), ` ${data.from} → ${data.to}`, data.why && ` (${data.why})`];
    case "pruning.braked":
    case "pruning.released":
      return [data.lane && laneLink(data.lane), data.reason && ` ${data.reason}`];
    case "credential.changed":
      return [data.lane && laneLink(data.lane), ` ${data.result}`, data.reason && ` (${data.reason})`];
    case "cleanup.done":
      return [idLink("cleanups", data.id, short(data.id)), ` ${data.status}, ${counted(data.quarantined, "device")} quarantined`];
    case "node.started":
    case "node.died":
      return [data.name];
    case "key.created":
    case "key.revoked":
      return [data.name ?? data.key, ` (${data.scopes.join(", ")})`];
    case "admin.action":
      return [`${[data.action, data.object].filter((word) => word).join(" ")}: ${data.result}, by `,
        h("span", { title: data.key }, keyNames.get(data.key) ?? data.key)];
    default:
      return [data.name ?? "", data.last?.error && ` (${data.last.error})`];
  }
}

/** A list of events, in the order given. @param {Api.Event[]} events @param {Child} empty */
export function eventList(events, empty) {
  if (events.length === 0) return h("p.empty", null, empty);
  return h("ol.events", null, events.map((event) => h("li", { "data-key": event.id },
    time(event.at), h("code", null, event.type), h("span", null, sentence(event.type, event.data)))));
}
