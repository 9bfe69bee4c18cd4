// Figures and times as people read them.

import { h } from "./dom.js";

const NUMBER = new Intl.NumberFormat("en");
const TIME = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const DAY = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });
const YEAR = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric" });
const NONE = "–";

/** @param {number | null | undefined} value */
export function count(value) {
  return value === null || value === undefined ? NONE : NUMBER.format(value);
}

/** @param {number} value @param {string} noun in the singular */
export function counted(value, noun) {
  return `${count(value)} ${noun}${value === 1 ? "" : "s"}`;
}

/** @param {number | null | undefined} share 0 to 1 */
export function percent(share) {
  if (share === null || share === undefined) return NONE;
  // Rounded down, because 99.96 % is not 100 %.
  return `${NUMBER.format(Math.floor(share * 1000) / 10)} %`;
}

/** @param {number | null | undefined} seconds */
export function duration(seconds) {
  if (seconds === null || seconds === undefined) return NONE;
  if (seconds < 0.1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 120) return `${NUMBER.format(Math.round(seconds * 10) / 10)} s`;
  if (seconds < 7_200) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172_800) return `${Math.round(seconds / 3_600)} h`;
  return `${count(Math.round(seconds / 86_400))} d`;
}

/** From one time to another, in seconds. @param {string} from @param {string} to */
export function between(from, to) {
  return (Date.parse(to) - Date.parse(from)) / 1000;
}

/** @param {Date} at */
export function clock(at) {
  const today = new Date();
  if (at.toDateString() === today.toDateString()) return TIME.format(at);
  const day = at.getFullYear() === today.getFullYear() ? DAY : YEAR;
  return `${day.format(at)} ${TIME.format(at)}`;
}

/** The hour and the minute, which suffice within a day. @param {string} iso */
export function minuteOf(iso) {
  return clock(new Date(iso)).slice(-8, -3);
}

/** A time, local, with UTC on hover. @param {string | null | undefined} iso */
export function time(iso) {
  if (!iso) return NONE;
  return h("time", { datetime: iso, title: iso.replace("T", " ").replace("Z", " UTC") }, clock(new Date(iso)));
}

/** An id's beginning, because its rest tells nothing to people. @param {string} id */
export function short(id) {
  return id.length > 16 ? `${id.slice(0, 14)}…` : id;
}

/** A word of the API as text. @param {string} word */
export function words(word) {
  return word.replaceAll("_", " ");
}
