// What failed, by platform and reason, and the list behind it. Every filter stands in the address.

import { get, query } from "./api.js";
import { changeAll, changeSome } from "./change.js";
import { h } from "./dom.js";
import { REASONS, STATE_NAMES, count, number, reason, reasonWord, score, state, stateWord, when } from "./words.js";

export const title = "Failures";

const LIMIT = 50;
/** Groups are counted over so many of the newest failures, and anew after so long. */
const GROUPED_MAX = 1000;
const GROUPED_FOR_MS = 30_000;
const TEXTS = [["user_id", "User"], ["session_id", "Session"], ["activity_id", "Activity"]];
const TIMES = [["since", "Stored since"], ["until", "Stored until"]];
const NAMES = ["platform", "reason", ...TEXTS.map(([name]) => name), ...TIMES.map(([name]) => name)];

/** What is selected, and under which filter; `all`: everything that passes it, on all pages. */
const chosen = { under: null, ids: new Set(), all: false };

/** The filter of the address, as the API takes it. Without a state it is that of the flagged ones. */
function filterOf(params) {
  const wanted = params.get("state") ?? "flagged";
  const filter = Object.fromEntries(NAMES.filter((name) => params.get(name)).map((name) => [name, params.get(name)]));
  return wanted === "any" ? filter : { state: wanted, ...filter };
}

export async function load({ params, tools }) {
  const filter = filterOf(params);
  const under = JSON.stringify(filter);
  if (chosen.under !== under) {
    Object.assign(chosen, { under, all: false });
    chosen.ids.clear();
  }
  const [page, stats] = await Promise.all([
    get(`/api/v1/jobs${query({ ...filter, limit: LIMIT, cursor: params.get("cursor") })}`), get("/api/v1/stats")]);
  tools.flagged(stats.jobs.flagged ? number(stats.jobs.flagged) : null);
  const groups = stats.jobs.flagged ? await groupsOf(params.get("platform"), stats.jobs.flagged) : { list: [], isWhole: true };
  return { page, stats, groups, filter };
}

let grouped = { of: null };
async function groupsOf(platform, flagged) {
  const of = `${platform ?? ""} ${flagged}`;
  if (grouped.of === of && Date.now() - grouped.at < GROUPED_FOR_MS) return grouped.groups;
  const { jobs, next_cursor: next } = await get(`/api/v1/jobs${query({ state: "flagged", platform, limit: GROUPED_MAX })}`);
  const found = new Map();
  for (const job of jobs) {
    const key = `${job.platform} ${job.reason}`;
    const group = found.get(key) ?? { key, platform: job.platform, reason: job.reason, advice: new Map(), count: 0, newest: job.flagged_at };
    group.count += 1;
    if (job.advice) group.advice.set(job.advice, (group.advice.get(job.advice) ?? 0) + 1);
    if (job.flagged_at > group.newest) group.newest = job.flagged_at;
    found.set(key, group);
  }
  const groups = { list: [...found.values()].sort((a, b) => b.count - a.count), isWhole: next === null, seen: jobs.length };
  grouped = { of, at: Date.now(), groups };
  return groups;
}

export const tell = ({ page }, { params }) =>
  `${(params.get("state") ?? "flagged") === "flagged" ? "Failures" : "Grades"}: ${page.next_cursor ? "the newest " : ""}${count(page.jobs.length, "grade")}`;

export function show({ page, stats, groups, filter }, { params, tools }) {
  return [
    h("h1", { tabindex: "-1" }, "Failures"),
    groupSection(groups, params, tools),
    h("section", { "aria-labelledby": "list" },
      h("h2", { id: "list" }, headingOf(params)),
      form(params, stats, tools),
      tools.mayChange && page.jobs.length ? actions(page, filter, params, tools) : null,
      page.jobs.length ? list(page.jobs, params, tools) : nothing(params, page),
      pages(page, params)),
  ];
}

function headingOf(params) {
  const wanted = params.get("state") ?? "flagged";
  const narrowed = NAMES.some((name) => params.get(name)) ? " that pass the filter" : "";
  return wanted === "any" ? `All grades${narrowed}` : `${wanted === "flagged" ? "Failed" : stateWord(wanted)} grades${narrowed}`;
}

function groupSection({ list: groups, isWhole, seen }, params, tools) {
  if (!groups.length) return null;
  const card = (group) => {
    const at = { platform: group.platform, reason: group.reason };
    const isHere = params.get("platform") === group.platform && params.get("reason") === group.reason;
    const [advice] = [...group.advice].sort((a, b) => b[1] - a[1])[0] ?? ["Look at one of them."];
    const words = `${reasonWord(group.reason)} at ${group.platform}`;
    return h("li", { class: `card group${isHere ? " here" : ""}`, key: group.key },
      h("h3", {}, h("span", { class: "figure" }, number(group.count)), " ", reason(group.reason)),
      h("p", { class: "quiet" }, `${group.platform}, newest `, when(group.newest)),
      h("p", {}, advice, group.advice.size > 1 ? h("span", { class: "quiet" }, ` (and other advice for ${number(group.count - group.advice.get(advice))} of them)`) : null),
      h("div", { class: "buttons" },
        isHere ? h("a", { class: "button", href: "#/failures" }, "Show all") : h("a", { class: "button", href: `#/failures${query(at)}`, "aria-label": `Show ${words}` }, "Show"),
        tools.mayChange ? h("button", { type: "button", "aria-label": `Replay ${words}`, onclick: () => changeAll("replay", { state: "flagged", ...at }, `${reasonWord(group.reason)}, at ${group.platform}`, tools) }, "Replay …") : null));
  };
  return h("section", { "aria-labelledby": "groups" },
    h("h2", { id: "groups" }, "Why"),
    isWhole ? null : h("p", { class: "quiet" }, `Counted over the newest ${number(seen)} failures.`),
    h("ul", { class: "grid plain-list" }, groups.map(card)));
}

function form(params, stats, tools) {
  const set = (name, value) => {
    const next = new URLSearchParams(params);
    next.delete("cursor");
    if (value) next.set(name, value);
    else next.delete(name);
    return next;
  };
  const choice = (name, label, options, none) => h("div", { class: "field" }, h("label", { for: `f-${name}` }, label),
    h("select", { id: `f-${name}`, value: params.get(name) ?? "", onchange: (event) => tools.filter(set(name, event.target.value)) },
      none === null ? null : h("option", { value: "" }, none), options.map(([value, text]) => h("option", { value }, text))));
  const typed = (type, of) => ([name, label]) => h("div", { class: "field" }, h("label", { for: `f-${name}` }, label),
    h("input", { id: `f-${name}`, type, value: of(params.get(name)), autocomplete: "off", spellcheck: "false", step: type === "datetime-local" ? "1" : null, oninput: (event) => { event.target.dataset.draft = "1"; } }));
  const names = [...new Set([...stats.platforms.map(({ name }) => name), params.get("platform")])].filter(Boolean).sort();
  const reasons = Object.keys(REASONS).filter((name) => !["delivered", "superseded", "cut_off"].includes(name)).map((name) => [name, reasonWord(name)]);
  const submit = (event) => {
    event.preventDefault();
    let next = new URLSearchParams(params);
    next.delete("cursor");
    for (const input of event.target.querySelectorAll("input")) {
      const name = input.id.slice(2);
      const value = input.type === "datetime-local" ? toExact(input.value) : input.value.trim();
      delete input.dataset.draft;
      if (value) next.set(name, value);
      else next.delete(name);
    }
    tools.filter(next);
  };
  const isFiltered = [...NAMES, "state"].some((name) => params.get(name));
  return h("form", { class: "filters", role: "search", "aria-label": "Filter", onsubmit: submit },
    choice("state", "State", [...STATE_NAMES.filter((name) => name !== "flagged").map((name) => [name, stateWord(name)]), ["any", "Any"]], "Flagged"),
    choice("platform", "Platform", names.map((name) => [name, name]), "All"),
    choice("reason", "Reason", reasons, "All"),
    TEXTS.map(typed("text", (value) => value ?? "")),
    TIMES.map(typed("datetime-local", toLocal)),
    h("div", { class: "buttons" }, h("button", { type: "submit", class: "main" }, "Apply"),
      isFiltered ? h("a", { class: "button", href: "#/failures" }, "Clear") : null));
}

/** An exact time for a field in the reader's zone, and back. */
function toLocal(iso) {
  if (!iso || Number.isNaN(Date.parse(iso))) return "";
  const moment = new Date(iso);
  return new Date(moment.getTime() - moment.getTimezoneOffset() * 60_000).toISOString().slice(0, 19);
}
const toExact = (local) => (local ? new Date(local).toISOString() : "");

function actions(page, filter, params, tools) {
  const isFlagged = filter.state === "flagged";
  const ids = [...chosen.ids];
  const act = (action) => () => (chosen.all ? changeAll(action, filter, wordsOf(filter), done) : changeSome(action, ids, done));
  const done = Object.create(tools, { refresh: { value: () => {
    chosen.ids.clear();
    chosen.all = false;
    grouped = { of: null };
    tools.refresh();
  } } });
  const any = chosen.all || ids.length > 0;
  const toggle = (all) => () => {
    chosen.all = all;
    if (!all) chosen.ids.clear();
    tools.redraw();
  };
  return h("div", { class: "actions", role: "group", "aria-label": "What to do with the selected" },
    h("span", { class: "quiet" }, chosen.all ? "All that match, on all pages, are selected." : any ? `${count(ids.length, "grade")} selected.` : "Nothing selected."),
    isFlagged && !chosen.all ? h("button", { type: "button", key: "all", onclick: toggle(true) }, "Select all that match") : null,
    any ? h("button", { type: "button", key: "none", onclick: toggle(false) }, "Select none") : null,
    h("button", { type: "button", key: "replay", class: any ? "main" : "", disabled: !any, onclick: act("replay") }, "Replay …"),
    h("button", { type: "button", key: "discard", class: "grave", disabled: !any, onclick: act("discard") }, "Discard …"));
}

function wordsOf(filter) {
  const members = Object.entries(filter).filter(([name]) => name !== "state").map(([name, value]) => `${name.replace("_id", "")} ${name === "reason" ? reasonWord(value) : value}`);
  return members.length ? `with ${members.join(", ")}` : "of all platforms";
}

function list(jobs, params, tools) {
  const isOfFlagged = (params.get("state") ?? "flagged") === "flagged";
  const choose = (id) => (event) => {
    chosen.all = false;
    if (event.target.checked) chosen.ids.add(id);
    else chosen.ids.delete(id);
    tools.redraw();
  };
  const movable = jobs.filter(({ state: now }) => now === "flagged" || now === "queued").map(({ id }) => id);
  const chooseAll = (event) => {
    chosen.all = false;
    for (const id of movable) chosen.ids[event.target.checked ? "add" : "delete"](id);
    tools.redraw();
  };
  const isChosen = (id) => chosen.all || chosen.ids.has(id);
  const box = (job) => h("td", { class: "box" }, h("input", { type: "checkbox", checked: isChosen(job.id), disabled: !movable.includes(job.id), onchange: choose(job.id), "aria-label": `Select the grade of ${nameOf(job)}` }));
  const row = (job) => h("tr", { key: job.id },
    tools.mayChange ? box(job) : null,
    h("th", { scope: "row" }, h("a", { href: `#/jobs/${job.id}` }, nameOf(job)), job.activity_id ? h("span", { class: "quiet under" }, job.activity_id) : null),
    h("td", { "data-label": "Score", class: "figure" }, score(job)),
    h("td", { "data-label": "Platform" }, job.platform),
    isOfFlagged ? null : h("td", { "data-label": "State" }, state(job.state)),
    h("td", { "data-label": "Why", class: "why" }, job.reason ? [reason(job.reason), job.last_error ? h("span", { class: "quiet under cut" }, job.last_error) : null] : "–"),
    h("td", { "data-label": "Attempts", class: "figure" }, number(job.attempts)),
    h("td", { "data-label": isOfFlagged ? "Failed" : "Changed" }, when(isOfFlagged ? job.flagged_at : job.updated_at)));
  const every = movable.length > 0 && movable.every(isChosen);
  return h("table", { class: "cards jobs" }, h("caption", { class: "unseen" }, `${headingOf(params)}, newest first`),
    h("thead", {}, h("tr", {},
      tools.mayChange ? h("th", { scope: "col", class: "box" }, h("input", { type: "checkbox", checked: every, onchange: chooseAll, "aria-label": "Select all on this page" })) : null,
      ["Student", "Score", "Platform", ...(isOfFlagged ? [] : ["State"]), "Why", "Attempts", isOfFlagged ? "Failed" : "Changed"].map((text) => h("th", { scope: "col" }, text)))),
    h("tbody", {}, jobs.map(row)));
}

const nameOf = (job) => job.user_id ?? job.session_id ?? job.id;

function nothing(params, page) {
  if (page.next_cursor) return h("p", { class: "quiet" }, "None among those that were looked at: go on with older ones.");
  const isFiltered = NAMES.some((name) => params.get(name));
  return h("p", { class: "quiet empty" }, isFiltered ? "No grade passes this filter." : (params.get("state") ?? "flagged") === "flagged" ? "No grade has failed. Well done." : "There is none.");
}

function pages(page, params) {
  const to = (cursor) => {
    const next = new URLSearchParams(params);
    if (cursor) next.set("cursor", cursor);
    else next.delete("cursor");
    const text = next.toString();
    return `#/failures${text ? `?${text}` : ""}`;
  };
  if (!page.next_cursor && !params.get("cursor")) return null;
  return h("nav", { class: "pages", "aria-label": "Pages" },
    params.get("cursor") ? h("a", { class: "button", href: to(null) }, "Newest") : null,
    page.next_cursor ? h("a", { class: "button", href: to(page.next_cursor) }, "Older") : null);
}
