// Times, numbers, states and reasons as people say them.

import { h } from "./dom.js";

const EXACT = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "long" });
const TODAY = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const THIS_YEAR = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
const EARLIER = new Intl.DateTimeFormat(undefined, { dateStyle: "medium" });
const NUMBER = new Intl.NumberFormat();
const BRIEF = new Intl.NumberFormat(undefined, { notation: "compact" });

export const number = (value) => NUMBER.format(value ?? 0);
/** A number where there is little room: exact as long as it is short. */
export const brief = (value) => (value < 10_000 ? NUMBER : BRIEF).format(value);

/** "1 grade", "2 grades". */
export const count = (value, one, many = `${one}s`) => `${number(value)} ${value === 1 ? one : many}`;

/** A length of time in its two largest units. */
export function span(ms) {
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return minutes % 60 ? `${hours} h ${minutes % 60} min` : `${hours} h`;
  const days = Math.floor(hours / 24);
  return hours % 24 && days < 4 ? `${days} d ${hours % 24} h` : `${days} d`;
}

/** How far a time is from now, either way. */
export function ago(iso) {
  const off = Date.now() - Date.parse(iso);
  if (Math.abs(off) < 2000) return "now";
  return off > 0 ? `${span(off)} ago` : `in ${span(-off)}`;
}

function clock(moment) {
  const now = new Date();
  if (moment.toDateString() === now.toDateString()) return TODAY.format(moment);
  return moment.getFullYear() === now.getFullYear() ? THIS_YEAR.format(moment) : EARLIER.format(moment);
}

/** A time in the reader's zone; the exact one, with the zone and in UTC, on hover. */
export function when(iso, form = "ago") {
  if (!iso) return "–";
  const moment = new Date(iso);
  const text = form === "ago" ? ago(iso) : form === "both" ? `${clock(moment)} (${ago(iso)})` : clock(moment);
  return h("time", { datetime: iso, title: `${EXACT.format(moment)}\n${iso}` }, text);
}

const STATES = {
  queued: ["Queued", "•"], delivered: ["Delivered", "✓"], flagged: ["Flagged", "!"],
  superseded: ["Superseded", "↷"], discarded: ["Discarded", "×"],
  open: ["Open", "✓"], few: ["Open", "▲"], held: ["Held", "!"], paused: ["Paused", "‖"],
};
export const STATE_NAMES = ["flagged", "queued", "delivered", "superseded", "discarded"];

/** A state as a mark: by word and sign, not by colour alone. */
export function state(name) {
  const [word, sign] = STATES[name] ?? [name, "?"];
  return h("span", { class: `state ${name}` }, h("span", { "aria-hidden": "true", class: "sign" }, sign), word);
}
export const stateWord = (name) => (STATES[name] ?? [name])[0];

/** As docs/failures.md has them. */
export const REASONS = {
  connection: "no connection", timeout: "no answer in time", tls: "no secure connection", blocked_destination: "address not allowed",
  unauthorized: "not accepted", token_refused: "token refused", not_found: "not found", rejected: "refused by the LMS",
  rate_limited: "too many requests", server_error: "error of the LMS", bad_response: "unreadable answer",
  unknown_key: "unknown key", unknown_platform: "unknown platform", invalid_score: "score cannot be sent",
};
export const reasonWord = (name) => REASONS[name] ?? String(name ?? "").replaceAll("_", " ");

/** A reason in words, with its name in the API, the command line, the log and docs/failures.md. */
export const reason = (name) => (name ? h("span", { class: "reason" }, `${reasonWord(name)} `, h("code", {}, `(${name})`)) : "–");
/** The same where only text can stand. */
export const reasonText = (name) => `${reasonWord(name)} (${name})`;

export const DELIVERIES = { lti11: "LTI 1.1", "lti13-ags": "LTI 1.3 (AGS)", "lti13-delegated": "LTI 1.3 (delegated)" };

const MEMBERS = { user_id: "student", session_id: "session", activity_id: "activity", since: "stored since", until: "stored before" };

/** A filter in words: "at campus, refused by the LMS, student ann". */
export function filterWords(filter) {
  const words = Object.entries(filter ?? {}).filter(([name, value]) => value !== null && value !== "" && name !== "state").map(([name, value]) => {
    if (name === "platform") return `at ${value}`;
    if (name === "reason") return reasonText(value);
    if (name === "delivery") return `by ${DELIVERIES[value] ?? value}`;
    const told = name === "since" || name === "until" ? clock(new Date(value)) : value;
    return `${MEMBERS[name] ?? name.replaceAll("_", " ")} ${told}`;
  });
  return words.length ? words.join(", ") : "of all platforms";
}

/** "8 of 10", or what stands for it. */
export function score(job) {
  if (job.score === null || job.score === undefined) return "no score";
  return job.max_score === null || job.max_score === undefined ? `${job.score}` : `${job.score} of ${job.max_score}`;
}

const PRIVATE = /sourced_?id|secret|token(?!_url|_aud)|password|signature|assertion|authorization|access_key/i;

/** An event with what is private cut to its ends: enough to compare, too little to use. */
export function masked(value, name = "") {
  if (PRIVATE.test(name) && value !== null && typeof value !== "object") return mask(String(value));
  if (Array.isArray(value)) return value.map((each) => masked(each, name));
  if (value && typeof value === "object") {
    return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, masked(each, PRIVATE.test(name) ? name : key)]));
  }
  return value;
}

export const mask = (text) => (text.length <= 12 ? "•".repeat(Math.max(3, text.length)) : `${text.slice(0, 3)}…${text.slice(-3)}`);
