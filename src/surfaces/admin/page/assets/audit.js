// Who did what, when, to how many, and why.

import { getIfThere, query } from "./api.js";
import { h } from "./dom.js";
import { count, number, when } from "./words.js";

export const title = "Audit";

const LIMIT = 50;

export const load = ({ params }) => getIfThere(`/api/v1/audit${query({ limit: LIMIT, cursor: params.get("cursor") })}`);

export const tell = (found) => (found ? `Audit: ${count(found.entries.length, "entry", "entries")}` : "Audit: not kept by this worker");

const ACTIONS = { replay: "replayed", discard: "discarded", pause: "paused", resume: "resumed", reload: "read the configuration anew" };

export function show(found, { params }) {
  const head = h("h1", { tabindex: "-1" }, "Audit");
  if (!found) return [head, h("p", {}, "This worker keeps no audit log. Its log says who did what.")];
  if (!found.entries.length) return [head, h("p", { class: "quiet" }, "Nobody has replayed, discarded or paused anything yet.")];
  return [head,
    h("table", { class: "cards" }, h("caption", { class: "unseen" }, "What was done, newest first"),
      h("thead", {}, h("tr", {}, ["When", "Who", "What", "How many", "Why"].map((text) => h("th", { scope: "col" }, text)))),
      h("tbody", {}, found.entries.map(row))),
    h("nav", { class: "pages", "aria-label": "Pages" },
      params.get("cursor") ? h("a", { href: "#/audit" }, "Newest") : null,
      found.next_cursor ? h("a", { href: `#/audit${query({ cursor: found.next_cursor })}` }, "Older") : null)];
}

function row(entry) {
  return h("tr", {},
    h("td", { "data-label": "When" }, when(entry.at, "both")),
    h("td", { "data-label": "Who" }, entry.who),
    h("td", { "data-label": "What" }, ACTIONS[entry.action] ?? entry.action, " ", what(entry)),
    h("td", { "data-label": "How many", class: "figure" }, entry.count === null || entry.count === undefined ? "–" : number(entry.count)),
    h("td", { "data-label": "Why" }, entry.note || "–"));
}

function what({ job, filter }) {
  if (job) return h("a", { href: `#/jobs/${encodeURIComponent(job)}`, class: "id" }, job);
  const members = Object.entries(filter ?? {}).filter(([, value]) => value !== null);
  return members.map(([name, value]) => `${name.replaceAll("_", " ")} ${typeof value === "object" ? JSON.stringify(value) : value}`).join(", ");
}
