// What an operator can tell a lane.

import { change } from "./api.js";
import { ask } from "./dialog.js";
import { h } from "./dom.js";
import { counted } from "./format.js";
import { action } from "./widgets.js";

/** @typedef {"pause" | "resume" | "retry"} Verb */

/** @type {Record<Verb, [string, string, string]>} the button, what will happen, and what has happened */
const VERBS = {
  pause: ["Pause", "No attempt begins until the lane is resumed. Devices wait, and expire at the end of their time to live.", "is paused"],
  resume: ["Resume", "Ends a pause, a suspension and a brake. Devices that wait are tried at once.", "is resumed"],
  retry: ["Retry", "Devices that wait for another attempt are due now, and the lane is tried now.", "is tried again"],
};

/** Buttons, for an `admin` session. @param {Api.Lane} lane */
export function laneActions(lane) {
  const isHeld = lane.state === "paused" || lane.state === "suspended" || lane.pruning.state === "braked";
  /** @type {Verb[]} */
  const verbs = [];
  if (isHeld) verbs.push("resume");
  if (lane.state !== "paused" && lane.state !== "running") verbs.push("retry");
  if (lane.state !== "paused") verbs.push("pause");
  return h("div.buttons", null, verbs.map((verb) => action(VERBS[verb][0], () => question(lane, verb), lane.lane)));
}

/** @param {Api.Lane} lane @param {Verb} verb */
function question({ lane, depth }, verb) {
  const [yes, what, did] = VERBS[verb];
  ask({
    title: `${yes} the lane ${lane}?`,
    text: [h("p", null, what), depth !== null && h("p", null, `${counted(depth, "device")} waited at the last count.`)],
    yes: `${yes} ${lane}`,
    run: async () => {
      await change("POST", `admin/lanes/${encodeURIComponent(lane)}/${verb}`);
      return `Lane ${lane} ${did}.`;
    },
  });
}
