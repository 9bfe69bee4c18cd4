// Devices: found by id, user or token; one device with what it got.

import { change, current, get, query } from "./api.js";
import { ask, told } from "./dialog.js";
import { h, update } from "./dom.js";
import { count, short, time } from "./format.js";
import { go } from "./main.js";
import { action, facts, field, heading, idLink, link, pager, raw, section, select, state, table } from "./widgets.js";

/** Hex digits alone are an APNs token. */
const APNS_TOKEN = /^[0-9a-f]{64,200}$/i;

/** @type {import("./main.js").Page} */
export async function devices(view) {
  const asked = view.query;
  const filters = { user: asked.get("user"), status: asked.get("status"), platform: asked.get("platform"), cursor: asked.get("cursor") };
  /** @type {{items: Api.Device[], next_cursor: string | null}} */
  const { items, next_cursor } = await get(`devices${query({ ...filters, limit: "50" })}`);
  const rows = items.map((device) => ({ key: device.id, cells: [
    idLink("devices", device.id), device.user ? link(`/dashboard/devices${query({ user: device.user })}`, device.user) : "–",
    [device.platform, device.environment && ` ${device.environment}`], state(device.status), device.quarantine?.reason ?? "–",
    device.app_version ?? "–", time(device.registered_at ?? device.created_at),
  ] }));
  const columns = ["Device", "User", "Platform", "Status", "Reason", "App version", "Registered"];
  const empty = next_cursor === null ? "No device matches." : "No device of this page matches. The next page looks further.";
  view.show(heading("Devices"), searchForm(), filterForm(asked), table("Devices", columns, rows, empty), pager(asked, next_cursor));
}

function searchForm() {
  const fault = h("div.fault", { role: "alert" });
  const hint = "A token is sent in the body of the request, and never becomes part of an address.";
  const onsubmit = async (/** @type {SubmitEvent} */ event) => {
    event.preventDefault();
    const input = /** @type {HTMLInputElement} */ (document.getElementById("wanted"));
    try {
      await find(input.value.trim(), /** @type {HTMLSelectElement} */ (document.getElementById("by")).value);
    } catch (problem) {
      update(fault, told(problem));
    }
  };
  /** @type {[string, string][]} */
  const ways = [["user", "User"], ["id", "Device id"]];
  if (current().app.admin) ways.push(["token", "Token"]);
  return h("form.filters", { onsubmit, role: "search", "aria-label": "Find a device" },
    field("Find by", select("by", ways, null)),
    field("Value", h("input", { id: "wanted", required: true, autocomplete: "off", spellcheck: "false" })),
    h("button.primary", { type: "submit" }, "Find"), current().app.admin && h("p.quiet", null, hint), fault);
}

/** @param {string} wanted @param {string} by */
async function find(wanted, by) {
  if (by === "user") return go(`/dashboard/devices${query({ user: wanted })}`);
  if (by === "id") return go(`/dashboard/devices/${encodeURIComponent(wanted)}`);
  const platform = APNS_TOKEN.test(wanted) ? "apns" : "fcm";
  const { items } = await change("POST", "devices/lookup", { tokens: [{ platform, token: wanted }] });
  if (items[0] === null) throw new Error(`No device of this app has this ${platform} token.`);
  go(`/dashboard/devices/${items[0].id}`);
}

/** @param {URLSearchParams} asked */
function filterForm(asked) {
  const status = asked.get("status") ?? "";
  const one = (/** @type {string} */ text, /** @type {string} */ value) =>
    h("a", { href: `/dashboard/devices${query({ status: value, user: asked.get("user") })}`, "aria-current": status === value && "true" }, text);
  return h("nav.counts", { "aria-label": "Devices by status" }, one("all", ""), one("active", "active"), one("quarantined", "quarantined"),
    asked.has("user") && h("span", null, `of user ${asked.get("user")} `, link("/dashboard/devices", "Show all users")));
}

/** @type {import("./main.js").Page} */
export async function device(view) {
  const path = `devices/${encodeURIComponent(view.id)}`;
  /** @type {[Api.Device, Api.Timeline]} */
  const [found, timeline] = await Promise.all([get(path), get(`${path}/deliveries${query({ cursor: view.query.get("cursor"), limit: "50" })}`)]);
  const rows = timeline.items.map((entry) => ({ key: entry.notification, cells: [
    idLink("notifications", entry.notification, short(entry.notification)), state(entry.status), count(entry.attempts),
    h("code", null, entry.reason ?? entry.last_reason ?? "–"), time(entry.at ?? entry.next_attempt_at),
    h("a", { href: `/dashboard/notifications/${entry.notification}?device=${view.id}`, "aria-label": `Why, for ${entry.notification}` }, "Why"),
  ] }));
  const columns = ["Notification", "Status", "#Attempts", "Reason", "At", ""];
  const { token: _hidden, ...shown } = found;
  view.show(
    heading("Device", state(found.status), found.quarantine && action("Restore", () => restoreDevice(view, found))),
    h("p.quiet", null, h("code", null, found.id)),
    found.quarantine && section("Quarantine", h("p", null, "Nothing is sent to it since ", time(found.quarantine.at), ". Reason: ",
      h("code", null, found.quarantine.reason), ". A registration by the app ends it; so does Restore.")),
    facts(["Platform", [found.platform, found.environment && ` ${found.environment}`, found.kind !== "alert" && ` ${found.kind}`]],
      ["User", found.user && link(`/dashboard/devices${query({ user: found.user })}`, found.user)],
      ["Token ends in", found.token_hint && h("code", null, found.token_hint)],
      ["Topics", [...found.topics, ...found.user_topics.map((topic) => `${topic} (user)`)].join(", ")],
      ["Locale", found.locale], ["Time zone", found.timezone], ["App version", found.app_version], ["Source", found.source],
      ["Created", time(found.created_at)], ["Registered", found.registered_at ? time(found.registered_at) : "never"]),
    section("Timeline", table("Notifications to this device", columns, rows, "Nothing was sent to it in the time that is kept."),
      pager(view.query, timeline.next_cursor)),
    raw(shown));
}

/** @param {import("./main.js").View} view @param {Api.Device} found */
function restoreDevice(view, { id, quarantine }) {
  ask({
    title: `Restore the device ${id}?`,
    text: [
      h("p", null, `The device was quarantined (${quarantine?.reason}), and is sent to again.`),
      h("p", null, "If the provider calls its token dead again, it is quarantined again."),
    ],
    yes: "Restore the device",
    run: async () => {
      await change("POST", `devices/${encodeURIComponent(id)}/restore`);
      view.reload();
      return `Device ${id} is active.`;
    },
  });
}
