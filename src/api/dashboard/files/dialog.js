// Questions before an action, and notices after it.

import { Problem } from "./api.js";
import { h, place, update } from "./dom.js";

/** @typedef {import("./dom.js").Child} Child */

/** How long a notice stays. The page shows the new state as well. */
const NOTICE_MS = 12_000;

/**
 * Asks, and acts if the answer is yes. A failure is told in the dialog, which stays open.
 * @param {{title: string, text: Child[], yes: string, run: (form: FormData) => Promise<string | null>}} question
 *   `run` returns what the notice says; null: it tells the outcome itself
 */
export function ask({ title, text, yes, run }) {
  const fault = h("div.fault", { role: "alert" });
  const confirm = h("button.primary", { type: "submit" }, yes);
  const close = () => dialog.close();
  const onsubmit = async (/** @type {SubmitEvent} */ event) => {
    event.preventDefault();
    confirm.setAttribute("disabled", "");
    try {
      const said = await run(new FormData(/** @type {HTMLFormElement} */ (form)));
      close();
      if (said !== null) notify(said);
    } catch (problem) {
      update(fault, told(problem));
      confirm.removeAttribute("disabled");
    }
  };
  const form = h("form", { onsubmit }, h("h2", { id: "question" }, title), text, fault,
    h("div.buttons", null, h("button", { type: "button", onclick: close }, "Cancel"), confirm));
  const dialog = /** @type {HTMLDialogElement} */ (h("dialog", { "aria-labelledby": "question" }, form));
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}

/** Tells the outcome of an action, politely. @param {string} text */
export function notify(text) {
  const notice = h("p", null, text);
  place("notices").append(notice);
  setTimeout(() => notice.remove(), NOTICE_MS);
}

/** What stands between backticks as code. @param {string} text @returns {Child[]} */
const marked = (text) => text.split("`").map((part, at) => (at % 2 === 1 ? h("code", null, part) : part));

/** What went wrong, as elements. @param {unknown} problem @returns {Child[]} */
export function told(problem) {
  if (!(problem instanceof Problem)) return [h("p", null, String(problem))];
  const faults = problem.errors.map((fault) =>
    h("li", null, h("code", null, fault.pointer ?? fault.parameter ?? fault.header ?? ""), " ", marked(fault.detail)));
  return [
    h("p", null, marked(problem.message)),
    faults.length > 0 && h("ul", null, faults),
    h("p.quiet", null, problem.code, problem.requestId && `, request ${problem.requestId}`),
  ];
}
