// Changes of many at once: those that go on, those that were, and what became of each.

import { getIfThere, query } from "./api.js";
import { h } from "./dom.js";
import { filterWords, number, reason, score, state, when } from "./words.js";

export const title = "Bulk changes";

const LIMIT = 25;

export async function load({ id, params }) {
  if (!id) return { page: await getIfThere(`/api/v1/replays${query({ limit: LIMIT, cursor: params.get("cursor") })}`) };
  const path = `/api/v1/replays/${encodeURIComponent(id)}`;
  const task = await getIfThere(path);
  const jobs = task && (await getIfThere(`${path}/jobs${query({ limit: LIMIT, cursor: params.get("cursor") })}`));
  return { task, jobs };
}

export const tell = ({ task, page }) => (task ? sentence(task) : `Bulk changes: ${page?.replays.length ?? 0}`);

export function show({ task, jobs, page }, { id, params }) {
  if (id) return one(task, jobs, params);
  const replays = page?.replays ?? [];
  return [
    h("h1", { tabindex: "-1" }, "Bulk changes"), tabs("#/bulk"),
    replays.length ? table(replays) : h("p", { class: "quiet empty" }, "Nobody has replayed or discarded many at once yet. The last 200 are kept."),
    pages("#/bulk", page?.next_cursor, params)];
}

/** The two parts of what was done. */
export function tabs(here) {
  const tab = (href, text) => h("li", {}, h("a", { href, "aria-current": href === here ? "page" : null }, text));
  return h("nav", { "aria-label": "What was done" }, h("ul", { class: "tabs" }, tab("#/audit", "Who did what"), tab("#/bulk", "Bulk changes")));
}

/** How a change stands. A replay that is through has only queued its grades again: what became of them is another thing. */
function standing({ action, state: name, replayed, now }) {
  if (name === "running") return ["Under way", "•", "queued"];
  if (name === "failed") return ["Given up", "!", "flagged"];
  if (name !== "done") return [name, "?", ""];
  if (action !== "replay" || !replayed) return ["Done", "✓", "delivered"];
  if (!now) return ["Queued again", "↻", ""];
  if (now.flagged) return [now.delivered || now.queued ? "Some flagged again" : "Flagged again", "!", "flagged"];
  return now.queued ? ["On their way", "•", "queued"] : ["Done", "✓", "delivered"];
}

function stands(task) {
  const [word, sign, like] = standing(task);
  return h("span", { class: `state ${like}` }, h("span", { "aria-hidden": "true", class: "sign" }, sign), word);
}

const VERBS = { replay: "Replay", discard: "Discard" };

function sentence(task) {
  const { action, total, matched, skipped } = task;
  const done = matched + skipped;
  const of = total === null ? number(done) : `${number(done)} of ${number(total)}`;
  return `${VERBS[action] ?? action}: ${standing(task)[0].toLowerCase()}, ${of} looked at`;
}

/** What became of the grades, as far as it is known: "57 queued again, 2 superseded". */
export function became(task) {
  const parts = [[task.replayed, "queued again"], [task.superseded, "superseded by a newer grade"], [task.discarded, "discarded"], [task.skipped, "left as they were"]];
  return parts.filter(([value]) => value).map(([value, words]) => `${number(value)} ${words}`).join(", ");
}

const SINCE = { delivered: "delivered", queued: "queued", flagged: "flagged again", superseded: "superseded by a newer grade", discarded: "discarded", gone: "not kept any more" };

/** What has become of the grades of a replay: "Now: 4,800 delivered, 150 queued, 50 flagged again"; null where it is not known. */
export function nowOf({ action, now, filter }) {
  if (!now || action !== "replay") return null;
  const known = Object.entries(SINCE).filter(([name]) => now[name]);
  const { platform } = filter ?? {};
  const told = known.flatMap(([name, words], index) => [index ? ", " : "",
    h("span", { class: name === "flagged" ? "wrong" : null }, `${number(now[name])} ${words}`)]);
  return h("p", { class: "since" }, h("strong", {}, "Now: "), known.length ? told : "nothing is known of them", ". ",
    now.flagged ? h("a", { href: `#/failures${query({ platform })}` }, platform ? `All failures at ${platform}` : "All failures") : null);
}

export function progress({ action, total, matched, skipped }) {
  const done = matched + skipped;
  const known = total === null ? {} : { max: Math.max(1, total), value: Math.min(done, Math.max(1, total)) };
  return h("span", {}, h("progress", { "aria-label": `${VERBS[action] ?? action}: grades done`, ...known }), h("span", { class: "figure" }, ` ${number(done)}${total === null ? "" : ` of ${number(total)}`}`));
}

function table(replays) {
  const row = (task) => h("tr", { key: task.id },
    h("th", { scope: "row" }, h("a", { href: `#/bulk/${task.id}` }, `${VERBS[task.action] ?? task.action} ${filterWords(task.filter)}`)),
    h("td", { "data-label": "State" }, stands(task)),
    h("td", { "data-label": "Result" }, task.state === "running" ? progress(task) : h("span", {}, task.error ?? (became(task) || "nothing to change"), nowOf(task))),
    h("td", { "data-label": "By", class: "who" }, task.who),
    h("td", { "data-label": "Begun" }, when(task.started_at, "both")),
    h("td", { "data-label": "Why", class: task.note ? null : "nil" }, task.note || "–"));
  return h("table", { class: "cards" }, h("caption", { class: "unseen" }, "Changes of many, newest first"),
    h("thead", {}, h("tr", {}, ["What", "State", "Result", "By", "Begun", "Why"].map((text) => h("th", { scope: "col" }, text)))),
    h("tbody", {}, replays.map(row)));
}

function one(task, jobs, params) {
  const way = h("p", { class: "quiet" }, h("a", { href: "#/bulk" }, "Bulk changes"), " / ", h("span", { class: "id" }, task?.id ?? ""));
  if (!task) return [way, h("h1", { tabindex: "-1" }, "It is not there"), h("p", {}, "The last 200 changes of many are kept.")];
  const like = standing(task)[2];
  const row = (term, ...what) => h("div", {}, h("dt", {}, term), h("dd", {}, ...what));
  const isUnknown = task.state !== "running" && task.action === "replay" && task.replayed && !task.now;
  return [way,
    h("h1", { tabindex: "-1" }, `${VERBS[task.action] ?? task.action} of flagged grades ${filterWords(task.filter)}`),
    h("section", { class: `card verdict ${like}`, "aria-label": "How far it is" },
      h("p", { class: "head" }, stands(task), task.state === "running" ? progress(task) : h("span", {}, became(task) || "Nothing was to be changed.")),
      nowOf(task),
      isUnknown ? h("p", { class: "quiet" }, "To be queued again is not to be delivered: what became of each stands below.") : null,
      task.state === "running" ? h("p", { class: "quiet" }, "It goes on in the worker, also without this page and over a restart. ", became(task)) : null,
      task.error ? h("p", { class: "wrong" }, task.error) : null,
      task.skipped ? h("p", {}, "Left as they were: grades that were not flagged any more when their turn came, because somebody or something else was faster.") : null),
    h("dl", { class: "facts" },
      row("By", task.who), row("Why", task.note || "–"), row("Begun", when(task.started_at, "both")),
      task.ended_at ? row("Ended", when(task.ended_at, "both")) : null,
      task.total === null ? null : row("Flagged then", number(task.total))),
    jobs ? each(jobs, task, params) : null];
}

const CAME = { replayed: "queued again", superseded: "superseded by a newer grade", discarded: "discarded", skipped: "left as it was" };

/** What became of each grade. */
function each({ jobs, next_cursor: next }, task, params) {
  if (!jobs.length) return null;
  const row = ({ id, result, job }) => h("tr", { key: id },
    h("th", { scope: "row" }, h("a", { href: `#/jobs/${id}` }, job?.user_id ?? job?.session_id ?? h("span", { class: "id" }, id))),
    h("td", { "data-label": "Then" }, CAME[result] ?? String(result)),
    h("td", { "data-label": "Now" }, job?.state ? h("span", {}, state(job.state), job.state === "flagged" ? h("span", { class: "quiet under" }, "flagged again: ", reason(job.reason)) : null) : "not kept any more"),
    h("td", { "data-label": "Score" }, job ? score(job) : "–"));
  return h("section", { "aria-labelledby": "each" }, h("h2", { id: "each" }, "Each grade"),
    h("table", { class: "cards" }, h("caption", { class: "unseen" }, "What became of each grade"),
      h("thead", {}, h("tr", {}, ["Student", "Then", "Now", "Score"].map((text) => h("th", { scope: "col" }, text)))),
      h("tbody", {}, jobs.map(row))),
    pages(`#/bulk/${task.id}`, next, params));
}

/** Where a list goes on. */
export function pages(here, next, params, names = ["Newest", "Older"]) {
  if (!next && !params.get("cursor")) return null;
  const to = (cursor) => {
    const others = new URLSearchParams(params);
    if (cursor) others.set("cursor", cursor);
    else others.delete("cursor");
    const text = others.toString();
    return `${here}${text ? `?${text}` : ""}`;
  };
  return h("nav", { class: "pages", "aria-label": "Pages" },
    params.get("cursor") ? h("a", { class: "button", href: to(null) }, names[0]) : null,
    next ? h("a", { class: "button", href: to(next) }, names[1]) : null);
}
