// The list of notifications, newest first, by status, label and time.

import { get, query } from "./api.js";
import { h } from "./dom.js";
import { between, count, duration, short, time } from "./format.js";
import { go } from "./main.js";
import { field, heading, idLink, link, pager, select, state, table } from "./widgets.js";

/** The objective: within so many seconds a notification has reached the provider. */
const LATE_SECONDS = 5;
const STATUSES = /** @type {const} */ (["scheduled", "queued", "sending", "done", "cancelled"]);

/** @type {import("./main.js").Page} */
export async function notifications(view) {
  const asked = view.query;
  const filters = { status: asked.getAll("status"), label: asked.get("label"), created_after: asked.get("created_after"),
    created_before: asked.get("created_before") };
  view.show(heading("Notifications"), filterForm(asked), h("p.quiet", null, "Loading…"));
  /** @type {Api.NotificationList} */
  const { items, next_cursor } = await get(`notifications${query({ ...filters, limit: "50", cursor: asked.get("cursor") })}`);
  const columns = ["Notification", "Label", "Status", "Priority", "Created", "#Took", "#Devices", "#Accepted", "#Failed"];
  const empty = next_cursor === null
    ? ["No notification matches. ", asked.size > 0 && link("/dashboard/notifications", "Show all")]
    : "None of the 5,000 notifications looked at matches. The next page looks further.";
  view.show(heading("Notifications"), filterForm(asked), table("Notifications", columns, items.map(row), empty), pager(asked, next_cursor));
}

/** @param {Api.Notification} notification */
function row(notification) {
  const { id, label, counts } = notification;
  const path = `/dashboard/notifications/${id}`;
  const failed = counts.unknown + counts.rejected + counts.token_dead + counts.expired;
  const figure = (/** @type {number} */ value, /** @type {string} */ filter) => value === 0 ? "0" : link(`${path}${filter}`, count(value));
  return { key: id, cells: [
    idLink("notifications", id, short(id)), label && link(`/dashboard/notifications${query({ label })}`, label),
    state(notification.status), notification.priority, time(notification.created_at), took(notification),
    figure(counts.targets, ""), figure(counts.accepted, "?status=accepted"),
    figure(failed, "?status=unknown&status=rejected&status=token_dead&status=expired"),
  ] };
}

/** From when the notification was due to its end. @param {Api.Notification} notification */
export function took({ send_at, created_at, done_at }) {
  const due = send_at !== null && send_at > created_at ? send_at : created_at;
  if (done_at === null) return "–";
  const seconds = between(due, done_at);
  return seconds > LATE_SECONDS ? state("late", `${duration(seconds)}, late`) : duration(Math.max(0, seconds));
}

/** @param {URLSearchParams} asked */
function filterForm(asked) {
  const chosen = asked.getAll("status");
  const options = /** @type {[string, string][]} */ ([["", "all"], ["queued sending", "waiting"], ...STATUSES.map((word) => [word, word])]);
  const onsubmit = (/** @type {SubmitEvent} */ event) => {
    event.preventDefault();
    const form = new FormData(/** @type {HTMLFormElement} */ (event.target));
    const at = (/** @type {string} */ name) => form.get(name) && new Date(String(form.get(name))).toISOString();
    go(`/dashboard/notifications${query({ status: String(form.get("status")).split(" "), label: String(form.get("label")).trim(),
      created_after: at("created_after"), created_before: at("created_before") })}`);
  };
  const moment = (/** @type {string} */ name) => h("input", { id: name, name, type: "datetime-local", step: "1", value: local(asked.get(name)) });
  return h("form.filters", { onsubmit, role: "search", "aria-label": "Filter notifications", "data-key": `filters ${asked}` },
    field("Status", select("status", options, chosen.join(" "))),
    field("Label", h("input", { id: "label", name: "label", value: asked.get("label") ?? "", maxlength: "50" })),
    field("Created after", moment("created_after")), field("Created before", moment("created_before")),
    h("button.primary", { type: "submit" }, "Show"), asked.size > 0 && link("/dashboard/notifications", "Show all"));
}

/** A time as the input of a form takes it. @param {string | null} iso */
function local(iso) {
  if (iso === null || Number.isNaN(Date.parse(iso))) return null;
  const at = new Date(iso);
  return new Date(at.getTime() - at.getTimezoneOffset() * 60_000).toISOString().slice(0, 19);
}
