// Why a push took as long as it did: the answer of `why`, drawn.

import { h } from "./dom.js";
import { clock, duration, time, words } from "./format.js";
import { advice, idLink, laneLink, link, section, state } from "./widgets.js";

/** A segment is at least so wide, of 1,000, so that a short one can be seen. */
const WIDTH_MIN = 12;
const GAP = 2;

/** @param {Api.WhyAnswer | null} why null: the notification has no device @param {boolean} isChosen whether the reader chose the device */
export function whySection(why, isChosen) {
  if (why === null) return null;
  const { segments } = why;
  const end = why.ended_at === null ? state("pending", "still waits") : why.status && state(why.status);
  const which = isChosen ? "This device. " : `The device that ${why.ended_at === null ? "has waited longest" : "ended last"}. `;
  return section("Why",
    h("p.summary", null, why.summary),
    timeline(segments),
    h("ol.segments", null, segments.map((segment) => h("li", null,
      h(`span.swatch.${tone(segment.cause)}`, { "aria-hidden": "true" }),
      h("b", null, name(segment)), h("span.number", null, duration(segment.seconds)),
      h("span", null, "from ", time(segment.from), segment.lane && [" in ", laneLink(segment.lane)],
        segment.cause === "attempt" && ", from the request until its answer was recorded",
        segment.reason && [" · ", h("code", null, segment.reason)]),
      segment.action && h("span.action", null, "To do: ", advice(segment.action))))),
    h("p.quiet", null, why.device && [which, idLink("devices", why.device), " "], end, ` after ${duration(why.total_seconds)}. `,
      why.precision === "receipt" && "It was recorded together with others, so the times are those of the group. ",
      why.trace_url && link(why.trace_url, "Trace")));
}

/** @param {Api.WhySegment} segment */
function name({ cause, attempt }) {
  return cause === "attempt" ? `attempt ${attempt ?? ""}` : words(cause);
}

/** @param {string} cause */
function tone(cause) {
  if (cause === "attempt") return "attempt";
  return cause.startsWith("lane_") ? "stopped" : cause === "scheduled" ? "scheduled" : "waited";
}

/** @param {Api.WhySegment[]} segments */
function timeline(segments) {
  const sum = segments.reduce((total, { seconds }) => total + seconds, 0) || 1;
  const widths = segments.map(({ seconds }) => Math.max(WIDTH_MIN, (seconds / sum) * 1_000));
  const all = widths.reduce((total, width) => total + width, 0);
  let x = 0;
  const drawn = segments.map((segment, at) => {
    const width = (widths[at] / all) * 1_000;
    const rect = h(`rect.${tone(segment.cause)}`, { x, y: 0, width: Math.max(1, width - GAP), height: 20 });
    x += width;
    return rect;
  });
  const label = segments.map((segment) => `${name(segment)} ${duration(segment.seconds)}`).join(", then ");
  const [first, last] = [segments[0], segments[segments.length - 1]];
  return h("div.timeline", null,
    h("svg", { viewBox: "0 0 1000 20", preserveAspectRatio: "none", role: "img", "aria-label": label }, drawn),
    first && h("p.quiet", { "aria-hidden": "true" }, h("span", null, clock(new Date(first.from))), h("span", null, clock(new Date(last.to)))));
}
