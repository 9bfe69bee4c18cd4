// All lanes, and one lane with its last hour and its states.

import { current, get } from "./api.js";
import { hour } from "./charts.js";
import { h } from "./dom.js";
import { eventList } from "./events.js";
import { count, duration, time } from "./format.js";
import { laneActions } from "./lane_actions.js";
import { live, onLive } from "./live.js";
import { laneTable, needList } from "./overview.js";
import { facts, heading, laneLink, link, openLink, pager, raw, section, state, table } from "./widgets.js";

/** @typedef {import("./live.js").LiveLane} LiveLane */

/** How far back the states of a lane are shown. */
const HISTORY_DAYS = 7;

/** @type {import("./main.js").Page} */
export function lanes(view) {
  const draw = () => {
    const all = live.snapshot?.lanes;
    if (all === undefined) return view.show(heading("Lanes"), h("p.quiet", null, "Waiting for the first figures…"));
    const rows = all.map((lane) => ({
      key: lane.lane,
      cells: [
        laneLink(lane.lane), state(lane.state), h("code", null, lane.why ?? "–"),
        time(lane.since), lane.connections, credential(lane), state(lane.pruning.state, lane.pruning.state === "on" ? "pruning" : "braked"),
      ],
    }));
    const columns = ["Lane", "State", "Reason", "Since", "#Connections", "Credential", "Dead tokens"];
    view.show(heading("Lanes"), laneTable(all), section("Connections and credentials", table("Connections and credentials", columns, rows)));
  };
  onLive(view.signal, draw);
  draw();
}

/** @param {LiveLane} lane */
function credential({ credential: used }) {
  if (!used) return "–";
  return [state(used.ok === false ? "refused" : used.ok ? "accepted" : "unknown", used.ok === null ? "not tried yet" : undefined), " ",
    h("code", null, used.id.slice(0, 8))];
}

/** @type {import("./main.js").Page} */
export async function lane(view) {
  /** @type {Api.EventList | null} */
  let history = null;
  const draw = () => {
    const found = live.snapshot?.lanes.find((one) => one.lane === view.id);
    if (live.snapshot === null) return view.show(heading(view.id), h("p.quiet", null, "Waiting for the first figures…"));
    if (!found) return view.show(heading(view.id), h("p", null, "There is no such lane. ", link("/dashboard/lanes", "All lanes")));
    const needs = live.snapshot.needs.filter(({ page: path }) => path === `lanes/${found.lane}`);
    view.show(page(found, needs), states(view, found, history), raw(found));
  };
  onLive(view.signal, draw);
  draw();
  if (!current().app.admin) return;
  const since = new Date(Date.now() - HISTORY_DAYS * 86_400_000).toISOString();
  const place = view.query.get("cursor");
  const start = place === null ? `since=${since}` : `cursor=${encodeURIComponent(place)}`;
  history = await get(`events?type=lane.changed&type=pruning.*&type=credential.changed&limit=1000&${start}`).catch(() => null);
  draw();
}

/** @param {LiveLane} lane @param {import("./live.js").Need[]} needs */
function page(lane, needs) {
  const { credential: used, pruning } = lane;
  return [
    heading(lane.lane, state(lane.state), laneActions(lane)),
    needs.length > 0 && h("section.needs", { "data-key": "needs", "aria-label": "Needs you" }, needList(needs)),
    facts(
      ["Reason", lane.why && h("code", null, lane.why)], ["Since", time(lane.since)],
      ["Waiting", openLink(lane.estimated && "≈ ", count(lane.depth))],
      ["Counted", lane.counted_seconds_ago === null ? null : `${duration(lane.counted_seconds_ago)} ago`],
      ["Oldest", duration(lane.oldest_seconds)],
      ["Rate", `${count(Math.round(lane.rate))} answers/s`], ["In flight", `${count(lane.in_flight)} of ${count(lane.in_flight_max)}`],
      ["Connections", count(lane.connections)], ["Platform", [lane.platform, lane.environment && ` ${lane.environment}`]],
      ["Credential", used && credential(lane)], ["Last tried", used?.checked_at ? time(used.checked_at) : null],
      ["Dead tokens", [state(pruning.state, pruning.state === "on" ? "are pruned" : "are not pruned"), pruning.why && ` (${pruning.why})`]],
    ),
    section("Last 60 minutes", hour(live.minutes.get(lane.lane))),
  ];
}

/** The changes of the lane, newest first. @param {import("./main.js").View} view @param {LiveLane} lane @param {Api.EventList | null} history */
function states(view, lane, history) {
  if (!current().app.admin) return null;
  const isOf = (/** @type {any} */ event) => event.data.lane === view.id;
  const fresh = live.events.filter((event) => /^(lane|pruning|credential)\./.test(event.type)).filter(isOf);
  const known = new Set(fresh.map(({ id }) => id));
  const older = (history?.items ?? []).filter((event) => isOf(event) && !known.has(event.id)).reverse();
  const next = history?.has_more ? history.next_cursor : null;
  const empty = ["No change is in the log. The lane is in this state since ", time(lane.since), "."];
  return section("State history", eventList([...fresh, ...older], empty),
    pager(view.query, next));
}
