// One webhook: its state, its attempts, the events it has set aside, and what can be done about it.

import { change, get, query } from "./api.js";
import { ask } from "./dialog.js";
import { h } from "./dom.js";
import { count, counted, duration, time } from "./format.js";
import { redraw } from "./live.js";
import { action, facts, field, heading, pager, raw, section, state, table } from "./widgets.js";

/** @typedef {import("./main.js").View} View */
/** @typedef {{hook: Api.Webhook, attempts: Api.WebhookAttemptList, aside: Api.SetAsideList}} Found */

const HOUR_MS = 3_600_000;

/** @type {import("./main.js").Page} */
export async function webhook(view) {
  const path = `admin/webhooks/${encodeURIComponent(view.id)}`;
  const asked = view.query;
  const draw = async () => {
    const [hook, attempts, aside] = await Promise.all([
      get(path),
      get(`${path}/attempts${query({ result: asked.get("result"), cursor: asked.get("cursor"), limit: "50" })}`),
      get(`${path}/set-aside${query({ cursor: asked.get("aside"), limit: "50" })}`),
    ]);
    view.show(page(view, { hook, attempts, aside }));
  };
  await redraw(view.signal, draw);
}

/** What came of it. @param {Api.Webhook} hook */
export const lastAttempt = ({ why, last_success_at }) => why ?? (last_success_at ? "succeeded" : "none yet");

/** @param {View} view @param {Found} found */
function page(view, { hook, attempts, aside }) {
  const isStopped = hook.state === "paused" || hook.state === "disabled";
  const button = (/** @type {string} */ text, /** @type {() => void} */ run) => action(text, run);
  return [
    heading(hook.name, state(hook.state), h("div.buttons", null,
      button("Test", () => test(hook)), button("Replay", () => replay(view, hook)),
      isStopped ? button("Resume", () => act(view, hook, "resume")) : button("Pause", () => act(view, hook, "pause")),
      hook.next_attempt_at !== null && button("Retry", () => act(view, hook, "retry")),
      hook.source === "api" && button("Rotate secret", () => rotate(view, hook)))),
    facts(["Receiver", hook.url], ["Last attempt", lastAttempt(hook)],
      ["In this state since", time(hook.since)], ["Lag", duration(hook.lag_seconds)],
      ["Next attempt", hook.next_attempt_at && time(hook.next_attempt_at)],
      ["Last success", hook.last_success_at ? time(hook.last_success_at) : "never"],
      ["Failing since", hook.failing_since && time(hook.failing_since)],
      ["Disabled, if it fails on, from", hook.disables_at && time(hook.disables_at)],
      ["Events", hook.types.join(", ")], ["Devices of deliveries", hook.devices], ["Events a message", `at most ${hook.batch_max}`],
      ["Secrets end in", hook.secrets.map(({ hint, expires_at }) => [h("code", null, hint), expires_at && [" until ", time(expires_at)], " "])]),
    section("Set aside", asideTable(view, hook, aside)),
    section("Attempts", results(view), attemptTable(attempts.items), pager(view.query, attempts.next_cursor)),
    raw(hook),
  ];
}

/** @param {View} view */
function results({ query: asked }) {
  const chosen = asked.get("result") ?? "";
  const one = (/** @type {string} */ result, /** @type {string} */ text) =>
    h("a", { href: `${location.pathname}${query({ result })}`, "aria-current": chosen === result && "true" }, text);
  return h("nav.counts", { "aria-label": "Attempts by result" }, one("", "all"), one("failed", "failed"), one("succeeded", "succeeded"));
}

/** @param {Api.WebhookAttempt[]} attempts */
function attemptTable(attempts) {
  const rows = attempts.map((attempt) => ({ key: `${attempt.message} ${attempt.at}`, cells: [
    time(attempt.at), attempt.error === null ? state("ok", String(attempt.status)) : state("failed", attempt.error), count(attempt.attempt),
    count(attempt.events), `${count(attempt.elapsed_ms)} ms`, attempt.response || "–", h("code", null, attempt.message), attempt.node,
  ] }));
  const columns = ["At", "Result", "#Attempt", "#Events", "#Took", "Answer", "Message", "Node"];
  return table("Attempts", columns, rows, "No attempt in the time that is kept.");
}

/** @param {View} view @param {Api.Webhook} hook @param {Api.SetAsideList} aside */
function asideTable(view, hook, { items, next_cursor }) {
  const again = (/** @type {string} */ event) => ask({
    title: `Send the event again to ${hook.name}?`,
    text: [h("p", null, h("code", null, event)), h("p", null, "It is sent at once, marked late. If the receiver takes it, it is set aside no more.")],
    yes: "Send it again",
    run: async () => {
      await change("POST", `admin/webhooks/${hook.id}/set-aside/${event}/retry`);
      view.reload();
      return "The event is due now.";
    },
  });
  const rows = items.map((one) => ({ key: one.event, cells: [
    h("code", null, one.event), time(one.at), count(one.attempts), one.error ?? "–",
    one.next_attempt_at ? time(one.next_attempt_at) : "on command", action("Retry", () => again(one.event), one.event),
  ] }));
  const empty = "No event is set aside: the receiver took each one, or is asked for it still.";
  const columns = ["Event", "Set aside", "#Attempts", "Last answer", "Next attempt", ""];
  return [table("Set-aside events", columns, rows, empty), pager(view.query, next_cursor, "aside")];
}

/** @param {Api.Webhook} hook */
function test(hook) {
  ask({
    title: `Send a test to ${hook.name}?`,
    text: [h("p", null, `${hook.url} gets one event webhook.test, at once. It is not in the log, and changes nothing of the webhook.`)],
    yes: "Send the test",
    run: async () => {
      /** @type {Api.WebhookTest} */
      const { status, error, elapsed_ms, response } = await change("POST", `admin/webhooks/${hook.id}/test`);
      return `Test of ${hook.name}: ${error ?? `status ${status}`} after ${count(elapsed_ms)} ms. ${response}`;
    },
  });
}

/** @param {View} view @param {Api.Webhook} hook */
function replay(view, hook) {
  const hourAgo = new Date(Date.now() - HOUR_MS - new Date().getTimezoneOffset() * 60_000).toISOString().slice(0, 19);
  ask({
    title: `Send events to ${hook.name} again?`,
    text: [
      h("p", null, "The webhook is wound back. Everything from there on is sent again in its order."),
      h("p", null, "Events keep their ids, by which the receiver drops doubles."),
      field("All events since", h("input", { id: "since", name: "since", type: "datetime-local", step: "1", value: hourAgo })),
      field("or from this event on", h("input", { id: "from", name: "from", placeholder: "evt_…", spellcheck: "false" })),
    ],
    yes: `Replay to ${hook.name}`,
    run: async (form) => {
      const from = String(form.get("from")).trim();
      const since = String(form.get("since"));
      await change("POST", `admin/webhooks/${hook.id}/replay`, from === "" ? { since: new Date(since).toISOString() } : { from });
      view.reload();
      return `Webhook ${hook.name} sends again.`;
    },
  });
}

/** @param {View} view @param {Api.Webhook} hook */
function rotate(view, hook) {
  ask({
    title: `Make a new secret for ${hook.name}?`,
    text: [h("p", null, "The new secret signs at once, and is shown once. The old ones sign beside it for 24 hours.")],
    yes: "Make a new secret",
    run: async () => {
      const { secret } = await change("POST", `admin/webhooks/${hook.id}/rotate`, { keep_old: "24h" });
      ask({
        title: `The new secret of ${hook.name}`,
        text: [h("p", null, "Give it to the receiver now. It is not shown again."), h("pre", { tabindex: "0" }, secret)],
        yes: "It is stored",
        run: async () => {
          view.reload();
          return null;
        },
      });
      return null;
    },
  });
}

/** @type {Record<"pause" | "resume" | "retry", [string, string, string]>} */
const VERBS = {
  pause: ["Pause", "The message under way is its last one. Events wait in the log, as long as that is kept.", "is paused"],
  resume: ["Resume", "It goes on at once where it stopped. What the log no longer has is told by webhook.gap.", "is resumed"],
  retry: ["Retry", "The message that failed is sent again now.", "tries again"],
};

/** @param {View} view @param {Api.Webhook} hook @param {"pause" | "resume" | "retry"} verb */
function act(view, { id, name, set_aside }, verb) {
  const [yes, what, did] = VERBS[verb];
  ask({
    title: `${yes} the webhook ${name}?`,
    text: [h("p", null, what), set_aside > 0 && h("p", null, `${counted(set_aside, "event")} set aside stay so.`)],
    yes: `${yes} ${name}`,
    run: async () => {
      await change("POST", `admin/webhooks/${id}/${verb}`);
      view.reload();
      return `Webhook ${name} ${did}.`;
    },
  });
}
