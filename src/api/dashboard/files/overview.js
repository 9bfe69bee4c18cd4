// The first page: what needs a person now, and how everything goes.

import { get, current, query } from "./api.js";
import { spark } from "./charts.js";
import { h } from "./dom.js";
import { eventList, nameKeys } from "./events.js";
import { count, counted, duration, minuteOf, percent, time } from "./format.js";
import { EVENT_TYPES, keepEvents, live, onLive } from "./live.js";
import { laneActions } from "./lane_actions.js";
import { advice, heading, laneLink, link, openLink, section, state, table } from "./widgets.js";

/** @typedef {import("./live.js").Snapshot} Snapshot */
/** @typedef {import("./live.js").LiveLane} LiveLane */
/** @typedef {import("./live.js").Need} Need */

const EVENTS_SHOWN = 12;
/** Events of the log that the page begins with are at most so old. */
const EVENTS_SINCE_SECONDS = [900, 60, 5, 1];

/** @type {import("./main.js").Page} */
export async function overview(view) {
  const draw = () => view.show(live.snapshot === null ? waiting() : page(live.snapshot));
  onLive(view.signal, draw);
  draw();
  nameKeys().then(draw);
  if (live.events.length > 0) return;
  // The log is read forwards, so where much happens a shorter time has the latest. A log that is off is told by the snapshot.
  // A session without admin sees only some types, and is refused if it names others.
  const type = current().app.admin ? EVENT_TYPES : EVENT_TYPES.filter((each) => /^(notification|device)\./.test(each));
  for (const seconds of EVENTS_SINCE_SECONDS) {
    const since = new Date(Date.now() - seconds * 1_000).toISOString();
    const told = await get(`events${query({ type, since, limit: "1000" })}`).catch(() => null);
    if (told?.has_more && seconds > 1) continue;
    if (told !== null && !view.signal.aborted) keepEvents(told.items, true);
    return;
  }
}

const waiting = () => [heading("Overview"), h("p.quiet", null, "Waiting for the first figures…")];

/** @param {Snapshot} snapshot */
function page(snapshot) {
  const { needs } = snapshot;
  return [
    heading("Overview"),
    needs.length > 0
      ? h("section.needs", { "data-key": "needs", "aria-labelledby": "needs" }, h("h2", { id: "needs" }, "Needs you"), needList(needs))
      : h("p.fine", { "data-key": "needs" }, state("ok", "Nothing needs you.")),
    figures(snapshot),
    section("Lanes", laneTable(snapshot.lanes)),
    section("Latest", eventList(live.events.slice(0, EVENTS_SHOWN), snapshot.events_off
      ? "The event log is off (retention.events)." : "Nothing has happened in the last 15 minutes.")),
    section("Nodes", nodeTable(snapshot.nodes)),
  ];
}

/** What needs a person: the cause, and the next step. @param {Need[]} needs */
export function needList(needs) {
  return h("ul", null, needs.map(({ state: word, about, page: path, since, reason, text, devices, counted_seconds_ago, action }) => h("li", null,
    h("b", null, link(`/dashboard/${path}`, about)), state(word),
    (since !== null || reason !== null) && h("span", null, since && ["since ", time(since)], reason && [" (", h("code", null, reason), ")"]),
    h("span", null, text), devices !== null && h("span", null, h("b", null, counted(devices, "device")), devices === 1 ? " waits" : " wait",
      `, counted ${duration(counted_seconds_ago)} ago`),
    h("span.action", null, advice(action)))));
}

/** @param {Snapshot} snapshot */
function figures({ objective, oldest_high_seconds, waiting, counted_seconds_ago, nodes }) {
  const hours = (/** @type {number} */ back) =>
    `/dashboard/notifications${query({ created_after: new Date(Date.now() - back * 3_600_000).toISOString().slice(0, 16) + "Z" })}`;
  const goal = `Objective: ${objective.percent} % within ${objective.seconds} s`;
  const until = `, as of ${minuteOf(objective.until)}`;
  const age = counted_seconds_ago !== null && `, counted ${duration(counted_seconds_ago)} ago`;
  const share = (/** @type {string} */ name, /** @type {number | null} */ value, /** @type {number} */ back) =>
    figure(name, link(hours(back), percent(value)), [(value ?? 1) * 100 < objective.percent ? state("late", "below the objective") : goal, until]);
  return h("dl.figures", { "data-key": "figures" },
    share("In time, last hour", objective.last_hour, 1),
    share("In time, 24 hours", objective.last_day, 24),
    figure("Oldest high", openLink(duration(oldest_high_seconds)), ["waits at high priority", age]),
    figure("Waiting", openLink(count(waiting)), ["devices in all lanes", age]),
    figure("Nodes", link("#nodes", count(nodes.length)), nodes.some(({ draining }) => draining) ? "one drains" : "alive"));
}

/** @param {string} name @param {import("./dom.js").Child} value @param {import("./dom.js").Child} note */
const figure = (name, value, note) => h("div", null, h("dt", null, name), h("dd", null, value), h("dd.quiet", null, note));

/** @param {LiveLane[]} lanes */
export function laneTable(lanes) {
  const buttons = current().app.admin ? [""] : [];
  const columns = ["Lane", "State", "#Waiting", "#Oldest", "#Rate/s", "#In flight", "#p95", "Last 60 min", ...buttons];
  // Told when a state changes, not when a figure does.
  const states = h("p.unseen", { role: "status" }, lanes.map((lane) => `${lane.lane} is ${lane.state}. `));
  const rows = lanes.map((lane) => {
    const path = `/dashboard/lanes/${encodeURIComponent(lane.lane)}`;
    const cells = [
      laneLink(lane.lane), state(lane.state), waitingIn(lane), duration(lane.oldest_seconds),
      count(Math.round(lane.rate)), `${count(lane.in_flight)}/${count(lane.in_flight_max)}`,
      lane.p95_ms === null ? "–" : `${count(Math.round(lane.p95_ms))} ms`, link(path, spark(live.minutes.get(lane.lane))),
    ];
    return { key: lane.lane, cells: [...cells, ...buttons.map(() => laneActions(lane))] };
  });
  const ages = lanes.flatMap((lane) => lane.counted_seconds_ago ?? []);
  return [states, table("Lanes", columns, rows, "No lane is configured for this app."),
    ages.length > 0 && h("p.quiet", null, `Waiting and oldest: as counted ${duration(Math.max(...ages))} ago.`)];
}

/** Nothing waits: there is nothing to open. @param {LiveLane} lane */
const waitingIn = ({ depth, estimated }) => (depth === 0 ? "0" : openLink(estimated && "≈ ", count(depth)));

/** @param {Api.Node[]} nodes */
function nodeTable(nodes) {
  return table("Nodes", ["Name", "Version", "Role", "Started", "#Heartbeat", "State"], nodes.map((node) => ({
    key: String(node.node),
    cells: [node.name, node.version, node.role, time(node.started_at), `${duration(node.heartbeat_age_seconds)} ago`,
      [state(node.dead_at ? "dead" : node.draining ? "draining" : "running"), node.leader && " leader"]],
  })));
}
