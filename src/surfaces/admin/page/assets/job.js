// One grade: what it is, what became of it, what the LMS said each time, and what can be done.

import { get } from "./api.js";
import { changeSome, verify } from "./change.js";
import { h, say } from "./dom.js";
import { pausedBy, pausesOf } from "./overview.js";
import { DELIVERIES, count, masked, reason, score, state, stateWord, when } from "./words.js";

export const title = "A grade";

export async function load({ id }) {
  const job = await get(`/api/v1/jobs/${encodeURIComponent(id)}`);
  const isPaused = job.waits?.why === "paused";
  return { ...job, pauses: isPaused ? await pausesOf([{ state: "paused" }]) : null };
}

export const tell = (job) => `${sentence(job)} It is ${job.state}.`;
/** What is told is told again when it has become another thing. */
export const isFollowed = true;

/** What was read back, by job; it stays until it is read again. */
const readBack = new Map();

/** The event in plain words. */
function sentence(job) {
  const who = job.user_id ? `Student ${job.user_id}` : "A student";
  const what = job.score === null || job.score === undefined ? "has no score" : `got ${score(job)}`;
  const where = activityName(job) ?? job.activity_id;
  return `${who} ${what}${where ? ` for ${where}` : ""}.`;
}

/** What people call the activity, where the event says it. */
function activityName(job) {
  const name = job.event?.activity_name;
  return typeof name === "string" && name.trim() ? name : null;
}

export function show(job, { tools }) {
  return [
    h("p", { class: "quiet" }, wayTo(job), " / ", h("span", { class: "id" }, job.id)),
    h("h1", { tabindex: "-1" }, sentence(job)),
    h("section", { class: `card verdict ${job.state}`, "aria-label": "What became of it" }, verdict(job), buttons(job, tools), readBackOf(job)),
    h("div", { class: "columns" },
      h("section", { "aria-labelledby": "attempts" }, h("h2", { id: "attempts" }, "Attempts"), attempts(job)),
      h("section", { "aria-labelledby": "facts" }, h("h2", { id: "facts" }, "The grade"), facts(job))),
    event(job),
  ];
}

/** The list that has it now. */
const wayTo = ({ state: now }) => (now === "flagged" ? h("a", { href: "#/failures" }, "Failures") : h("a", { href: `#/failures?state=${now}` }, `${stateWord(now)} grades`));

const ENDS = {
  delivered: (job) => ["The LMS has it since ", when(job.delivered_at, "both"), "."],
  flagged: (job) => ["Given up ", when(job.flagged_at, "both"), ": ", h("strong", {}, reason(job.reason)), "."],
  queued: (job) => {
    const failed = failedOf(job);
    if (job.waits) return failed ? ["It is not delivered yet: ", failed, "."] : ["It has not gone out yet."];
    const more = failed ? [" ", failed, "."] : null;
    return isAhead(job.next_attempt_at) ? ["It is on its way; the next try is due ", when(job.next_attempt_at, "both"), ".", more] : ["It is on its way, and due now.", more];
  },
  superseded: () => ["A newer grade of the same gradebook cell took its place."],
  discarded: (job) => {
    const last = (job.changes ?? []).findLast(({ action }) => action === "discard");
    return last ? ["Given up by ", last.who, ", ", when(last.at, "both"), said(last.note), "; it is not sent."] : ["An operator gave it up; it is not sent."];
  },
};

/** "2 attempts failed, the last: no connection"; null where none has. */
function failedOf(job) {
  const failed = job.attempts.filter((attempt) => !went(attempt));
  const many = failed.length + (job.attempts_omitted ?? 0);
  const why = failed.at(-1)?.outcome ?? job.reason;
  return many ? [`${count(many, "attempt")} failed${why ? (many === 1 ? ": " : ", the last: ") : ""}`, why ? reason(why) : null] : null;
}

const went = ({ outcome }) => outcome === "delivered" || outcome === "superseded";

/** A note, in the words of whoever wrote it. */
const said = (note) => (note ? [": ", h("q", {}, note)] : null);

const isAhead = (iso) => Boolean(iso) && Date.parse(iso) > Date.now();

function verdict(job) {
  return [
    h("p", { class: "head" }, state(job.state), h("span", {}, ...(ENDS[job.state]?.(job) ?? []))),
    job.state === "queued" && job.waits ? waits(job) : null,
    job.advice && !["superseded", "discarded"].includes(job.state) && !job.waits ? h("p", { class: "advice" }, h("strong", {}, "What to do: "), job.advice) : null,
    job.last_error && job.last_error !== job.waits?.error ? h("blockquote", {}, job.last_error) : null,
  ];
}

/** Why a queued grade does not go out although it could. */
function waits({ platform, pauses, waits: { why, since, until, error } }) {
  const from = since ? [" since ", when(since, "both")] : null;
  const link = h("a", { href: "#/platforms" }, platform);
  const words = {
    paused: () => [link, " is paused", pauses ? pausedBy(platform, pauses) : null, from, ": nothing is sent there until an operator resumes it."],
    held: () => [link, " is held", from, ", because it fails again and again", error ? [" (", h("q", {}, error), ")"] : null, until ? ["; the next probe goes out ", when(until, "both")] : null, ". No attempt is used up meanwhile."],
    resting: () => [link, " asked for fewer requests: nothing is sent there until ", when(until, "both"), "."],
    older_grade: () => ["An older grade of the same gradebook cell goes first."],
  }[why];
  return words ? h("p", { class: "waits" }, h("strong", {}, "It waits: "), words()) : null;
}

function buttons(job, tools) {
  const movable = job.state === "flagged" || job.state === "queued";
  const change = (action, text, kind) => h("button", { type: "button", key: action, class: kind, onclick: () => changeSome(action, [job.id], tools) }, text);
  return h("div", { class: "buttons" },
    tools.mayChange && movable ? change("replay", job.state === "queued" ? "Try now …" : "Replay …", "main") : null,
    tools.mayChange && movable ? change("discard", "Discard …", "grave") : null,
    tools.mayChange ? h("button", { type: "button", key: "verify", onclick: (event) => look(job, event.target, tools) }, "Verify now") : null,
    h("button", { type: "button", key: "copy", onclick: (event) => copy(event.target) }, "Copy link"));
}

async function look(job, button, tools) {
  button.disabled = true;
  readBack.set(job.id, { waits: true });
  tools.redraw();
  try {
    readBack.set(job.id, await verify(job.id));
  } catch (error) {
    readBack.set(job.id, { error: error.message });
  }
  button.disabled = false;
  tools.redraw();
  const { result, detail, error } = readBack.get(job.id);
  // What the first words say already is not read out twice.
  const isSaid = result === "same" || result === "nothing";
  say(error ? `It was not looked up: ${error}.` : `${FOUND[result] ?? result}${isSaid ? "" : told(detail)}`);
}

const FOUND = {
  same: "The LMS has this grade.", different: "The LMS has another grade.", nothing: "The LMS has no grade here.",
  cannot_be_read: "The grade could not be read back.",
};

const told = (detail) => (detail ? ` ${detail.replace(/[.]$/, "")}.` : "");

function readBackOf(job) {
  const found = readBack.get(job.id);
  if (!found) return null;
  if (found.waits) return h("p", { id: "read-back", class: "read-back" }, "Asking the LMS …");
  if (found.error) return h("p", { id: "read-back", class: "read-back wrong" }, `It was not looked up: ${found.error}.`);
  const there = found.there ? ` There: ${found.there.score} of ${found.there.max_score}.` : "";
  return h("p", { id: "read-back", class: `read-back ${found.result}` }, h("strong", {}, FOUND[found.result] ?? found.result), there, told(found.detail), " ", h("span", { class: "quiet" }, "Looked up ", when(found.checked_at), "."));
}

async function copy(button) {
  try {
    await navigator.clipboard.writeText(location.href);
    say("The link is copied");
    button.textContent = "Copied";
  } catch {
    // Without https a browser lends nobody its clipboard: the address is shown, selected.
    const field = h("input", { type: "text", readonly: true, value: location.href, "aria-label": "The link", "data-draft": "1" });
    button.after(field);
    field.select();
    say("Copy the selected link");
  }
  setTimeout(() => { button.textContent = "Copy link"; }, 2000);
}

/** Attempts and changes that are shown at once. */
const SHOWN_MAX = 8;

/** What was tried, and what people did to it, newest first. */
function attempts(job) {
  const changes = job.changes ?? [];
  if (!job.attempts.length && !changes.length) return h("p", { class: "quiet" }, job.state === "queued" ? "None yet." : "None: it was known before anything was sent.");
  const tried = job.attempts.map((attempt, index) => ({ at: attempt.started_at, isAttempt: true, item: attemptItem(attempt, index + 1) }));
  const done = changes.map((change) => ({ at: change.at, isAttempt: false, item: changeItem(change) }));
  const all = [...done, ...tried].sort((a, b) => Date.parse(a.at) - Date.parse(b.at)).reverse();
  // One more than these is shown with them.
  const [newest, earlier] = all.length > SHOWN_MAX + 1 ? [all.slice(0, SHOWN_MAX), all.slice(SHOWN_MAX)] : [all, []];
  const list = (some) => h("ol", { class: "timeline", reversed: true }, some.map(({ item }) => item));
  const words = earlier.every(({ isAttempt }) => isAttempt) ? ["earlier attempt"] : ["earlier entry", "earlier entries"];
  return [
    isAhead(job.next_attempt_at) && !job.waits ? h("p", { key: "next" }, "Next try ", when(job.next_attempt_at, "both"), ".") : null,
    list(newest),
    earlier.length ? h("details", { key: "earlier" }, h("summary", {}, count(earlier.length, ...words)), list(earlier)) : null,
    job.attempts_omitted ? h("p", { class: "quiet" }, `${count(job.attempts_omitted, "other attempt")} in between ${job.attempts_omitted === 1 ? "is" : "are"} not kept.`) : null,
  ];
}

function attemptItem(attempt, value) {
  return h("li", { class: went(attempt) ? "well" : "badly", value },
    h("p", { class: "head" }, h("strong", {}, went(attempt) ? attempt.outcome : reason(attempt.outcome)), h("span", { class: "quiet" }, when(attempt.started_at, "both"), ` · ${attempt.http_status ? `HTTP ${attempt.http_status}` : "no HTTP status"} · ${took(attempt.duration_ms)}`)),
    attempt.message ? h("blockquote", {}, attempt.message) : null);
}

const DID = { replay: "replayed", discard: "discarded" };

function changeItem({ at, who, action, note, bulk }) {
  return h("li", { class: "change" },
    h("p", { class: "head" }, h("span", {}, h("strong", {}, DID[action] ?? action), ` by ${who}`, said(note)), h("span", { class: "quiet" }, when(at, "both"), bulk ? [" · ", h("a", { href: `#/bulk/${encodeURIComponent(bulk)}` }, "with others")] : null)));
}

const took = (ms) => (ms < 1000 ? `${ms}\u00a0ms` : `${(ms / 1000).toFixed(1)}\u00a0s`);

function facts(job) {
  const row = (term, ...what) => h("div", {}, h("dt", {}, term), h("dd", {}, ...what));
  return h("dl", {},
    row("Student", job.user_id ? h("a", { href: `#/failures?state=any&user_id=${encodeURIComponent(job.user_id)}`, title: "All grades of this student" }, job.user_id) : "–"), row("Activity", ...activity(job)), row("Score", score(job)), row("Session", job.session_id ?? "–"),
    row("Goes to", h("a", { href: `#/platforms?name=${encodeURIComponent(job.platform)}` }, job.platform), ", by ", DELIVERIES[job.delivery] ?? job.delivery),
    job.event?.lis_data ? placeOf(job.event.lis_data, row) : null,
    row("Stored", when(job.created_at, "both")), row("Last change", when(job.updated_at, "both")),
    job.delivered_at ? row("Delivered", when(job.delivered_at, "both")) : null);
}

function activity(job) {
  const name = activityName(job);
  if (!name) return [job.activity_id ?? "–"];
  return job.activity_id ? [`${name} `, h("span", { class: "quiet" }, `(${job.activity_id})`)] : [name];
}

/** Where in the LMS it goes, in the words of the launch. */
function placeOf(lis, row) {
  const url = lis.lineitem ?? lis.lineitems ?? lis.lis_outcome_service_url ?? lis.grade_passback_url;
  return [
    typeof url === "string" ? row(lis.lineitem ? "Column" : "Service", h("span", { class: "id" }, url.replace(/[?].*$/, "?…"))) : null,
    typeof lis.context_title === "string" ? row("Course", lis.context_title) : null];
}

function event(job) {
  if (!job.event) return h("p", { class: "quiet" }, "The event cannot be shown.");
  return h("details", {}, h("summary", {}, "The event as it came"),
    h("p", { class: "quiet" }, "Secrets and sourcedids are shown by their ends alone."),
    h("pre", { tabindex: "0" }, JSON.stringify(masked(job.event), null, 2)));
}
