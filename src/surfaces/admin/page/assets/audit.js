// Who did what, when, to how many, and why.

import { getIfThere, query } from "./api.js";
import { pages, tabs } from "./bulk.js";
import { h } from "./dom.js";
import { count, filterWords, number, when } from "./words.js";

export const title = "Audit";

const LIMIT = 50;

export const load = ({ params }) => getIfThere(`/api/v1/audit${query({ limit: LIMIT, cursor: params.get("cursor") })}`);

export const tell = (found) => (found ? `Audit: ${count(found.entries.length, "entry", "entries")}` : "Audit: not kept by this worker");

const ACTIONS = { replay: "replayed", discard: "discarded", pause: "paused", resume: "resumed", reload: "read the configuration anew" };

export function show(found, { params }) {
  const head = [h("h1", { tabindex: "-1" }, "Audit"), tabs("#/audit")];
  if (!found) return [...head, h("p", {}, "This worker keeps no audit log. Its log says who did what.")];
  if (!found.entries.length) return [...head, h("p", { class: "quiet empty" }, "Nobody has replayed, discarded or paused anything yet.")];
  return [...head,
    h("table", { class: "cards" }, h("caption", { class: "unseen" }, "What was done, newest first"),
      h("thead", {}, h("tr", {}, ["When", "Who", "What", "How many", "Why"].map((text) => h("th", { scope: "col" }, text)))),
      h("tbody", {}, found.entries.map(row))),
    pages("#/audit", found.next_cursor, params)];
}

function row(entry) {
  const isMany = !entry.job && (entry.action === "replay" || entry.action === "discard");
  return h("tr", {},
    h("td", { "data-label": "When" }, when(entry.at, "both")),
    h("td", { "data-label": "Who" }, entry.who),
    h("td", { "data-label": "What" }, h("span", {}, h("strong", {}, ACTIONS[entry.action] ?? entry.action), " ", what(entry, isMany))),
    h("td", { "data-label": "How many", class: `figure${isMany ? "" : " nil"}` }, many(entry, isMany)),
    h("td", { "data-label": "Why", class: entry.note ? null : "nil" }, entry.note || "–"));
}

function many({ count: number_of, bulk }, isMany) {
  if (number_of !== null && number_of !== undefined) return number(number_of);
  return isMany ? h("a", { href: wayTo(bulk) }, "not at its end") : "–";
}

/** The page of the bulk change, where it is known which it was. */
const wayTo = (bulk) => (bulk ? `#/bulk/${encodeURIComponent(bulk)}` : "#/bulk");

function what({ job, filter, action, bulk }, isMany) {
  if (job) return h("a", { href: `#/jobs/${encodeURIComponent(job)}`, class: "id" }, job);
  const words = `flagged grades ${filterWords(filter)}`;
  if (isMany) return bulk ? h("a", { href: wayTo(bulk) }, words) : words;
  if (action === "pause" || action === "resume") return filter?.platform ?? "";
  return filter ? filterWords(filter) : "";
}
