// Charts of a lane's last hour, drawn as SVG, each with its words.

import { h } from "./dom.js";
import { count, counted, minuteOf } from "./format.js";
import { table } from "./widgets.js";

/** @typedef {import("./live.js").Minute} Minute */
/** @typedef {"accepted" | "failed" | "late" | "waiting" | "p95_ms"} Figure */

const WIDTH = 300;

/**
 * Bars, one a minute, each on top of the one before.
 * @param {Minute[]} minutes @param {Figure[]} figures @param {number} height
 */
function bars(minutes, figures, height) {
  const sum = (/** @type {Minute} */ minute) => figures.reduce((total, figure) => total + (minute[figure] ?? 0), 0);
  const most = Math.max(1, ...minutes.map(sum));
  const wide = WIDTH / 60;
  return minutes.flatMap((minute, at) => {
    let top = height;
    return figures.map((figure) => {
      const value = minute[figure] ?? 0;
      const tall = value === 0 ? 0 : Math.max(1, (value / most) * (height - 1));
      top -= tall;
      const x = WIDTH - (minutes.length - at) * wide;
      return value > 0 && h(`rect.${figure}`, { x, y: top, width: wide - 1, height: tall });
    });
  });
}

/** @param {Minute[]} minutes @param {Figure} figure */
function total(minutes, figure) {
  return minutes.reduce((sum, minute) => sum + (minute[figure] ?? 0), 0);
}

/** @param {string} label @param {number} height @param {import("./dom.js").Child} content */
function drawing(label, height, content) {
  const viewBox = `0 0 ${WIDTH} ${height}`;
  return h("svg.chart", { viewBox, role: "img", "aria-label": label, preserveAspectRatio: "none" },
    h("line.axis", { x1: 0, x2: WIDTH, y1: height - 0.5, y2: height - 0.5 }), content);
}

/** What a lane got done in an hour, for a row of a table. @param {Minute[] | undefined} minutes */
export function spark(minutes) {
  if (minutes === undefined || minutes.length === 0) return h("span.quiet", null, "no figures yet");
  const [accepted, failed] = [total(minutes, "accepted"), total(minutes, "failed")];
  const label = `Last 60 min: ${count(accepted)} accepted, ${count(failed)} failed, ${count(total(minutes, "late"))} late`;
  return drawing(label, 24, bars(minutes, ["accepted", "failed"], 24));
}

/** The same hour in three charts, and as a table. @param {Minute[] | undefined} minutes */
export function hour(minutes) {
  if (minutes === undefined || minutes.length === 0) {
    return h("p.empty", null, "The first figures come with the next full minute.");
  }
  const most = (/** @type {Figure} */ figure) => Math.max(0, ...minutes.map((minute) => minute[figure] ?? 0));
  const chart = (/** @type {string} */ title, /** @type {string} */ note, /** @type {Figure[]} */ ...figures) =>
    h("figure", null, h("figcaption", null, h("b", null, title), ` ${note}`),
      drawing(`${title}: ${note}`, 72, bars(minutes, figures, 72)));
  const from = minuteOf(minutes[0].at);
  const until = minuteOf(minutes[minutes.length - 1].at);
  const failed = total(minutes, "failed");
  const sums = `${count(total(minutes, "accepted"))} accepted, ${count(failed)} failed, ${count(total(minutes, "late"))} late`;
  return h("div", null,
    h("div.charts", null,
      chart("Answers per minute", sums, "accepted", "failed"),
      chart("Devices waiting", `at most ${count(most("waiting"))}`, "waiting"),
      chart("Time at the provider", `95 % within ${count(most("p95_ms"))} ms in the slowest minute`, "p95_ms")),
    h("p.quiet", null, `${from} to ${until}, ${counted(minutes.length, "minute")}.`),
    h("details", { "data-key": "figures" }, h("summary", null, "The figures"), figuresTable(minutes)));
}

/** @param {Minute[]} minutes */
function figuresTable(minutes) {
  const columns = ["Minute", "#Accepted", "#Failed", "#Late", "#Waiting", "#p95 ms"];
  return table("Figures of each minute", columns, minutes.toReversed().map(({ at, accepted, failed, late, waiting, p95_ms }) => (
    { key: at, cells: [minuteOf(at), ...[accepted, failed, late, waiting, p95_ms].map(count)] })));
}
