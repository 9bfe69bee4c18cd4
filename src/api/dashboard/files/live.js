// The live stream of the chosen app: a snapshot each 2 s, figures of the last hour, and events of the log.

import { restore } from "./api.js";

/**
 * @typedef {Api.Lane & {in_flight_max: number | null, p95_ms: number | null}} LiveLane
 * @typedef {{state: string, about: string, page: string, since: string | null, reason: string | null, text: string,
 *   devices: number | null, counted_seconds_ago: number | null, action: string}} Need
 * @typedef {{at: string, objective: {percent: number, seconds: number, last_hour: number | null, last_day: number | null, until: string},
 *   oldest_high_seconds: number | null, waiting: number, counted_seconds_ago: number | null, needs: Need[], nodes: Api.Node[],
 *   lanes: LiveLane[], events_off?: boolean}} Snapshot
 * @typedef {{at: string, accepted: number, failed: number, late: number, waiting: number | null, p95_ms: number | null}} Minute
 */

/** All but `delivery.recorded`: there may be thousands a second, and the end of their notification is told too. */
export const EVENT_TYPES = [
  "notification.done", "notification.cancelled", "device.quarantined", "device.restored", "device.corrected",
  "lane.changed", "pruning.braked", "pruning.released", "credential.changed", "cleanup.done", "node.started",
  "node.died", "key.created", "key.revoked", "webhook.failing", "webhook.recovered", "webhook.disabled",
  "webhook.set_aside", "admin.action",
];
const EVENTS_KEPT = 50;
/** Of them ends of notifications, so that these leave room for what happens rarely. */
const ENDS_KEPT = 6;
const MINUTES_KEPT = 60;
/** Snapshots come each 2 s, so after 8 s the stream is silent. */
const SILENCE_MS = 8_000;
/** Wait before the stream is opened anew, after an answer at which the browser gives up. */
const REOPEN_MS = 2_000;

/** What the stream has told so far. */
export const live = {
  /** @type {Snapshot | null} */
  snapshot: null,
  /** When the last snapshot came, by this browser's clock. @type {Date | null} */
  heardAt: null,
  isUp: false,
  /** By lane, oldest first. @type {Map<string, Minute[]>} */
  minutes: new Map(),
  /** Newest first. @type {Api.Event[]} */
  events: [],
};

/** @type {Set<() => void>} */
const listeners = new Set();
let frame = 0;
/** @type {EventSource | null} */
let source = null;
/** @type {ReturnType<typeof setTimeout> | undefined} */
let silence;

/** Calls back after each change, until the signal ends. @param {AbortSignal} signal @param {() => void} callback */
export function onLive(signal, callback) {
  listeners.add(callback);
  signal.addEventListener("abort", () => listeners.delete(callback));
}

/**
 * Draws now, and again after each snapshot at which the drawing is due. A failure then leaves the page as it is: the banner tells it.
 * @param {AbortSignal} signal @param {() => Promise<void>} draw @param {() => boolean} isDue
 */
export async function redraw(signal, draw, isDue = () => true) {
  await draw();
  let [drawn, isBusy] = [live.snapshot, false];
  onLive(signal, async () => {
    if (isBusy || live.snapshot === drawn || !isDue()) return;
    [drawn, isBusy] = [live.snapshot, true];
    await draw().catch(() => undefined);
    isBusy = false;
  });
}

/** Follows this app, from nothing. @param {string} app */
export function follow(app) {
  unfollow();
  open(app);
}

export function unfollow() {
  source?.close();
  source = null;
  clearTimeout(silence);
  Object.assign(live, { snapshot: null, heardAt: null, isUp: false, minutes: new Map(), events: [] });
}

/** @param {string} app */
function open(app) {
  const after = live.events[0]?.id;
  const query = new URLSearchParams(after === undefined ? { app } : { app, after });
  const opened = new EventSource(`/dashboard/api/live?${query}`);
  source = opened;
  const lose = () => {
    if (source !== opened) return;
    live.isUp = false;
    tell();
    if (opened.readyState === EventSource.CLOSED) setTimeout(reopen, REOPEN_MS, app, opened);
  };
  const reset = () => {
    clearTimeout(silence);
    silence = setTimeout(() => {
      opened.close();
      lose();
    }, SILENCE_MS);
  };
  opened.onerror = lose;
  opened.addEventListener("snapshot", ({ data }) => {
    Object.assign(live, { snapshot: JSON.parse(data), heardAt: new Date(), isUp: true });
    reset();
    tell();
  });
  opened.addEventListener("minutes", ({ data }) => {
    for (const [lane, told] of Object.entries(JSON.parse(data).lanes)) keepMinutes(lane, told);
    tell();
  });
  for (const type of EVENT_TYPES) opened.addEventListener(type, ({ data }) => keepEvents([JSON.parse(data)]));
  reset();
}

/** @param {string} app @param {EventSource} closed */
async function reopen(app, closed) {
  // A page that is loaded anew shows the login.
  if ((await restore().catch(() => true)) === false) location.reload();
  else if (source === closed) open(app);
}

/** @param {string} lane @param {Minute[]} told */
function keepMinutes(lane, told) {
  const known = new Map((live.minutes.get(lane) ?? []).map((minute) => [minute.at, minute]));
  for (const minute of told) known.set(minute.at, minute);
  const sorted = [...known.values()].sort((one, other) => one.at.localeCompare(other.at));
  live.minutes.set(lane, sorted.slice(-MINUTES_KEPT));
}

/** Adds events, in the order of the log. @param {Api.Event[]} told @param {boolean} areOld before those of the stream */
export function keepEvents(told, areOld = false) {
  const known = new Set(live.events.map(({ id }) => id));
  const added = told.filter(({ id }) => !known.has(id)).reverse();
  const all = areOld ? [...live.events, ...added] : [...added, ...live.events];
  const ends = all.filter(({ type }) => type.startsWith("notification.")).slice(ENDS_KEPT);
  live.events = all.filter((event) => !ends.includes(event)).slice(0, EVENTS_KEPT);
  tell();
}

/** Pages are drawn once a frame at most. */
function tell() {
  if (frame !== 0) return;
  frame = requestAnimationFrame(() => {
    frame = 0;
    for (const listener of listeners) listener();
  });
}
