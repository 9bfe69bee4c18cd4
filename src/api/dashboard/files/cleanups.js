// Clean-up runs: quarantine of devices that were not registered for long.

import { change, get, query } from "./api.js";
import { ask, told } from "./dialog.js";
import { h, update } from "./dom.js";
import { count, counted, percent, time } from "./format.js";
import { redraw } from "./live.js";
import { go } from "./main.js";
import { action, facts, field, heading, idLink, link, pager, raw, section, select, state, table } from "./widgets.js";

/** @type {import("./main.js").Page} */
export async function cleanups(view) {
  /** @type {Api.CleanupList} */
  const { items, next_cursor } = await get(`admin/cleanups${query({ cursor: view.query.get("cursor"), limit: "50" })}`);
  const rows = items.map((run) => ({ key: run.id, cells: [
    idLink("cleanups", run.id), state(run.status), run.dry_run ? "dry run" : run.schedule ? `schedule ${run.schedule}` : "run",
    `${count(run.criteria.inactive_days)} d`, count(run.scanned), count(run.matched), count(run.quarantined), time(run.created_at),
  ] }));
  const columns = ["Run", "Status", "Kind", "#Inactive", "#Scanned", "#Matched", "#Quarantined", "Began"];
  view.show(heading("Clean-ups"), 
    h("p", null, "A run quarantines devices that were not registered for long. It never deletes one, and can be restored."),
    section("Dry run", dryRunForm()),
    section("Runs", table("Clean-up runs", columns, rows, "No run yet. Begin with a dry run, which changes nothing."),
      pager(view.query, next_cursor)));
}

function dryRunForm() {
  const fault = h("div.fault", { role: "alert" });
  const onsubmit = async (/** @type {SubmitEvent} */ event) => {
    event.preventDefault();
    const form = new FormData(/** @type {HTMLFormElement} */ (event.target));
    const text = (/** @type {string} */ name) => String(form.get(name));
    try {
      const run = await change("POST", "admin/cleanups", {
        dry_run: true, inactive_days: Number(text("inactive_days")), max_share: Number(text("max_share")) / 100,
        platforms: text("platform") === "" ? null : [text("platform")], app_version_below: text("app_version_below").trim() || null,
      });
      go(`/dashboard/cleanups/${run.id}`);
    } catch (problem) {
      update(fault, told(problem));
    }
  };
  const figure = (/** @type {string} */ id, /** @type {string} */ value, /** @type {string} */ max) =>
    h("input", { id, name: id, type: "number", min: "1", max, value, required: true });
  return h("form.filters", { onsubmit, "data-key": "dry-run-form" },
    field("Not registered for days", figure("inactive_days", "270", "3650")),
    field("Platform", select("platform", [["", "all"], ["apns", "apns"], ["fcm", "fcm"]], null)),
    field("App version below", h("input", { id: "app_version_below", name: "app_version_below", maxlength: "64" })),
    field("At most % of the devices", figure("max_share", "20", "100")),
    h("button.primary", { type: "submit" }, "Start a dry run"), fault);
}

/** @type {import("./main.js").Page} */
export async function cleanup(view) {
  const path = `admin/cleanups/${encodeURIComponent(view.id)}`;
  /** @type {Api.CleanupRun} */
  let run;
  const draw = async () => {
    run = await get(path);
    view.show(page(view, run));
  };
  await redraw(view.signal, draw, () => isUnderWay(run));
}

/** @param {Api.CleanupRun} run */
function isUnderWay({ status }) {
  return status === "running" || status === "restoring";
}

/** @param {import("./main.js").View} view @param {Api.CleanupRun} run */
function page(view, run) {
  const { criteria } = run;
  const part = run.status === "restoring" ? run.restored : run.quarantined;
  const whole = run.status === "restoring" ? run.quarantined : run.matched;
  // While the run counts, nothing says how long that takes.
  const known = run.dry_run || whole === 0 ? {} : { max: whole, value: part };
  return [
    heading(run.dry_run ? "Dry run" : "Clean-up", state(run.status), h("div.buttons", null,
      run.dry_run && run.status === "done" && run.matched > 0 && action("Run it", () => start(run)),
      isUnderWay(run) && action("Stop", () => act(view, run, "stop")),
      run.quarantined > run.restored && !isUnderWay(run) && action("Restore", () => act(view, run, "restore")))),
    h("p.quiet", null, h("code", null, run.id)),
    isUnderWay(run) && h("progress", { "aria-label": "Progress", ...known }),
    run.problem && h("p.needs", null, h("b", null, "It has changed nothing: "),
      `${percent(run.problem.share)} of the devices match, and the run may quarantine ${percent(run.problem.max_share)}.`),
    facts(["Scanned", count(run.scanned)], ["Matched", count(run.matched)],
      ["Quarantined", link("/dashboard/devices?status=quarantined", count(run.quarantined))],
      ["Restored", count(run.restored)], ["Quarantined by runs in the 30 days before", count(run.recently_quarantined)],
      ["Not registered for", `${count(criteria.inactive_days)} days`], ["Platforms", criteria.platforms?.join(", ") ?? "all"],
      ["Environments", criteria.environments?.join(", ") ?? "all"], ["App version below", criteria.app_version_below],
      ["At most", percent(criteria.max_share)], ["Schedule", run.schedule], ["Began", time(run.created_at)], ["Ended", time(run.done_at)]),
    section("Sample", run.sample.length === 0 ? h("p.empty", null, "No device has matched so far.")
      : h("ul.ids", null, run.sample.map((id) => h("li", null, idLink("devices", id))))),
    raw(run),
  ];
}

/** A run with the criteria of a dry run. @param {Api.CleanupRun} run */
function start({ criteria, matched, scanned }) {
  ask({
    title: `Quarantine about ${counted(matched, "device")}?`,
    text: [
      h("p", null, `The dry run matched ${count(matched)} of ${count(scanned)} devices. A run quarantines those that match now.`),
      h("p", null, "Nothing is sent to them until they register again, or the run is restored."),
    ],
    yes: "Run it",
    run: async () => {
      const run = await change("POST", "admin/cleanups", { ...criteria, dry_run: false });
      go(`/dashboard/cleanups/${run.id}`);
      return "The clean-up has begun.";
    },
  });
}

/** @param {import("./main.js").View} view @param {Api.CleanupRun} run @param {"stop" | "restore"} verb */
function act(view, { id, quarantined, restored }, verb) {
  const isStop = verb === "stop";
  ask({
    title: isStop ? `Stop the run ${id}?` : `Restore ${counted(quarantined - restored, "device")} of the run ${id}?`,
    text: [h("p", null, isStop ? "No further device is quarantined or restored. What is done stays, and can be restored."
      : "The devices that the run quarantined, and that are still quarantined by it, are active again.")],
    yes: isStop ? "Stop the run" : "Restore the devices",
    run: async () => {
      await change(isStop ? "DELETE" : "POST", `admin/cleanups/${encodeURIComponent(id)}${isStop ? "" : "/restore"}`);
      view.reload();
      return isStop ? "The run is stopped." : "The restoration has begun.";
    },
  });
}
