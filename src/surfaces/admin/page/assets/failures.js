// What failed, by platform and reason, and the list behind it. Every filter stands in the address.

import { get, getIfThere, query } from "./api.js";
import { pages } from "./bulk.js";
import { changeAll, changeSome } from "./change.js";
import { h } from "./dom.js";
import { DELIVERIES, REASONS, STATE_NAMES, count, filterWords, number, reason, reasonText, reasonWord, score, state, stateWord, when } from "./words.js";

export const title = "Failures";
/** The number of failures for the menu comes with it. */
export const countsFlagged = true;

const LIMIT = 50;
/** Groups with a card of their own; of each the newest job is looked at, for its words and its advice. */
const CARDS_MAX = 6;
/** Groups that are shown in all. */
const GROUPS_MAX = 60;
const TEXTS = [["user_id", "Student"], ["session_id", "Session"], ["activity_id", "Activity"]];
const TIMES = [["since", "Stored since"], ["until", "Stored before"]];
const NAMES = ["platform", "reason", "delivery", ...TEXTS.map(([name]) => name), ...TIMES.map(([name]) => name)];
/** Filters that are seldom needed stand behind a fold where the screen is small. */
const SELDOM = ["delivery", ...TEXTS.map(([name]) => name), ...TIMES.map(([name]) => name)];

/** What is selected, and under which filter; `all`: everything that passes it, on all pages. `lost`: the filter has changed
    since. `shown`: the filter of the list that stands there. */
const chosen = { under: null, ids: new Set(), all: false, lost: false, shown: null };

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
    Object.assign(chosen, { under, all: false, lost: chosen.all || chosen.ids.size > 0 });
    chosen.ids.clear();
  }
  const [page, stats, found] = await Promise.all([
    get(`/api/v1/jobs${query({ ...filter, limit: LIMIT, cursor: params.get("cursor") })}`), get("/api/v1/stats"),
    getIfThere("/api/v1/groups?state=flagged")]);
  tools.flagged(stats.jobs.flagged);
  const fits = (name) => (group) => !params.get(name) || group[name] === params.get(name);
  const all = (found?.groups ?? []).filter(fits("platform")).filter(fits("reason"));
  const cards = await Promise.all(all.slice(0, CARDS_MAX).map(newestOf));
  return { page, stats, filter, groups: { cards, others: all.slice(CARDS_MAX, GROUPS_MAX), omitted: all.slice(GROUPS_MAX), untold: found?.omitted ?? 0 } };
}

/** The newest job of each group, asked for again when the group has changed; and now and then, because one may have gone
    and failed again. */
const newest = new Map();
const NEWEST_FOR_MS = 15_000;
async function newestOf(group) {
  const key = `${group.platform} ${group.reason}`;
  const known = newest.get(key);
  if (known?.count !== group.count || Date.now() - known.at > NEWEST_FOR_MS) {
    const { jobs } = await get(`/api/v1/jobs${query({ state: "flagged", platform: group.platform, reason: group.reason, limit: 1 })}`);
    newest.set(key, { count: group.count, job: jobs[0], at: Date.now() });
  }
  return { ...group, key, job: newest.get(key).job };
}

export const tell = ({ page }, { params }) =>
  `${(params.get("state") ?? "flagged") === "flagged" ? "Failures" : "Grades"}: ${page.next_cursor ? "the newest " : ""}${count(page.jobs.length, "grade")}`;

export function show({ page, stats, groups, filter }, { params, tools }) {
  chosen.shown = JSON.stringify(filter);
  const wanted = params.get("state") ?? "flagged";
  // Who looks for one student wants that student's grades, not what else failed.
  const isWide = wanted === "flagged" && !SELDOM.some((name) => params.get(name));
  return [
    h("h1", { tabindex: "-1" }, wanted === "flagged" ? "Failures" : "Grades"),
    page.jobs.length ? toTheList() : null,
    isWide ? groupSection(groups, params, tools) : null,
    h("section", { "aria-labelledby": "list", key: "list" },
      h("h2", { id: "list", tabindex: "-1" }, headingOf(params)),
      strangers(params),
      form(params, stats, tools),
      page.jobs.length ? list(page.jobs, stats, params, tools) : nothing(params, page, stats),
      // After the list: whoever has chosen goes on forwards.
      tools.mayChange && page.jobs.length ? actions(page, filter, groups, params, tools) : null,
      pages("#/failures", page.next_cursor, params)),
  ];
}

function headingOf(params) {
  const wanted = params.get("state") ?? "flagged";
  const narrowed = NAMES.some((name) => params.get(name)) ? " that pass the filter" : "";
  return wanted === "any" ? `All grades${narrowed}` : `${stateWord(wanted)} grades${narrowed}`;
}

function groupSection({ cards, others, omitted, untold }, params, tools) {
  if (!cards.length) return null;
  const rest = [omitted.length ? `And ${count(omitted.length, "more group")}: choose a platform to see its own.` : null,
    untold ? `And ${count(untold, "grade")} in groups that are smaller still: the list below has them.` : null].filter(Boolean);
  const atOf = (group) => ({ platform: group.platform, reason: group.reason });
  const isHere = (group) => params.get("platform") === group.platform && params.get("reason") === group.reason;
  const wordsOf = (group) => `${reasonWord(group.reason)} at ${group.platform}`;
  const replay = (group) => () => changeAll("replay", { state: "flagged", ...atOf(group) }, filterWords(atOf(group)), tools);
  const card = (group) => h("li", { class: `card group${isHere(group) ? " here" : ""}`, key: group.key },
    h("h3", {}, h("span", { class: "figure" }, number(group.count)), " ", reason(group.reason)),
    h("p", { class: "quiet" }, h("span", { class: "name" }, group.platform), group.job?.flagged_at ? [", newest ", when(group.job.flagged_at)] : null),
    h("p", {}, group.job?.advice ?? group.advice),
    group.job?.last_error ? h("blockquote", { class: "cut", title: group.job.last_error }, group.job.last_error) : null,
    h("div", { class: "buttons" },
      isHere(group) ? h("a", { class: "button", href: "#/failures" }, "Show all") : h("a", { class: "button", href: `#/failures${query(atOf(group))}`, "aria-label": `Show ${wordsOf(group)}` }, "Show"),
      tools.mayChange ? h("button", { type: "button", "aria-label": `Replay ${wordsOf(group)}`, onclick: replay(group) }, "Replay …") : null));
  const row = (group) => h("tr", { key: `${group.platform} ${group.reason}` },
    h("td", { class: "figure" }, number(group.count)), h("th", { scope: "row" }, h("a", { href: `#/failures${query(atOf(group))}` }, reason(group.reason))), h("td", { class: "name" }, group.platform));
  return h("section", { "aria-labelledby": "groups", key: "groups" },
    h("h2", { id: "groups" }, "Why"),
    h("ul", { class: "grid plain-list" }, cards.map(card)),
    others.length ? h("details", { key: "others" }, h("summary", {}, `${count(others.length + omitted.length, "smaller group")}`),
      h("table", {}, h("caption", { class: "unseen" }, "Smaller groups of flagged grades"),
        h("thead", {}, h("tr", {}, ["Grades", "Why", "Platform"].map((text) => h("th", { scope: "col" }, text)))), h("tbody", {}, others.map(row))),
      rest.length ? h("p", { class: "quiet" }, rest.join(" ")) : null) : null);
}

/** What stands in the address and is no filter: an address that was typed. */
function strangers(params) {
  const found = [...new Set(params.keys())].filter((name) => ![...NAMES, "state", "cursor"].includes(name));
  if (!found.length) return null;
  const quoted = found.flatMap((name, index) => [index ? ", " : "", h("strong", {}, name)]);
  return h("p", { class: "told", key: "strangers", role: "status" }, quoted,
    ` in the address ${found.length === 1 ? "is no filter and narrows" : "are no filters and narrow"} nothing. The filters are ${["state", ...NAMES].join(", ")}.`);
}

function form(params, stats, tools) {
  const set = (name, value) => {
    const next = new URLSearchParams(tools.params);
    next.delete("cursor");
    if (value) next.set(name, value);
    else next.delete(name);
    return next;
  };
  const choice = (name, label, options, none) => h("div", { class: "field", key: name }, h("label", { for: `f-${name}` }, label),
    h("select", { id: `f-${name}`, value: params.get(name) ?? "", onchange: (event) => take(tools.filter(set(name, event.target.value))) },
      none === null ? null : h("option", { value: "" }, none), options.map(([value, text]) => h("option", { value }, text))));
  const typed = (type, of) => ([name, label]) => h("div", { class: "field", key: name }, h("label", { for: `f-${name}` }, label),
    h("input", { id: `f-${name}`, type, value: of(params.get(name)), autocomplete: "off", spellcheck: "false", step: type === "datetime-local" ? "1" : null, oninput: (event) => { event.target.dataset.draft = "1"; }, onblur: () => apply(tools) }));
  const names = [...new Set([...stats.platforms.map(({ name }) => name), params.get("platform")])].filter(Boolean).sort();
  const reasons = Object.keys(REASONS).map((name) => [name, reasonText(name)]);
  const submit = (event) => {
    event.preventDefault();
    apply(tools);
  };
  const isFiltered = [...NAMES, "state"].some((name) => params.get(name));
  const isSeldom = SELDOM.some((name) => params.get(name));
  return h("form", { class: "filters", role: "search", "aria-label": "Filter", onsubmit: submit },
    choice("state", "State", [...STATE_NAMES.filter((name) => name !== "flagged").map((name) => [name, stateWord(name)]), ["any", "Any"]], "Flagged"),
    choice("platform", "Platform", names.map((name) => [name, name]), "All"),
    choice("reason", "Reason", reasons, "All"),
    h("details", { class: "seldom", key: "seldom", open: isSeldom, "data-opens": isSeldom },
      h("summary", {}, "More filters"),
      h("div", { class: "filters" },
        choice("delivery", "Delivery", Object.entries(DELIVERIES), "All"),
        TEXTS.map(typed("text", (value) => value ?? "")),
        TIMES.map(typed("datetime-local", toLocal)),
        h("div", { class: "buttons" }, h("button", { type: "submit", class: "main" }, "Apply")))),
    isFiltered ? h("p", { class: "now", key: "now" }, h("span", {}, "Filter: ", h("strong", {}, filterNow(params))), " ", h("a", { href: "#/failures" }, "Clear the filters")) : null);
}

/** "Queued, at campus". */
function filterNow(params) {
  const wanted = params.get("state") ?? "flagged";
  return `${wanted === "any" ? "Any state" : stateWord(wanted)}, ${filterWords(filterOf(params))}`;
}

/** Until the list is of what was chosen or typed last. */
let taken = Promise.resolve();
const take = (shown) => { taken = Promise.all([taken, shown]); };

/** What was typed goes into the address, as what is chosen does. */
function apply(tools) {
  const form = document.querySelector("form.filters");
  // A field that is taken off the page with its view says nothing any more.
  if (!form || !/^#[/]failures([?]|$)/.test(location.hash)) return;
  const next = new URLSearchParams(tools.params);
  for (const input of form.querySelectorAll("input[data-draft]")) {
    if (input.validity.badInput) continue;
    const name = input.id.slice(2);
    const value = input.type === "datetime-local" ? toExact(input.value) : input.value.trim();
    delete input.dataset.draft;
    if (value === (next.get(name) ?? "")) continue;
    next.delete("cursor");
    if (value) next.set(name, value);
    else next.delete(name);
  }
  take(tools.filter(next));
}

/** Whether the fields, the address and the list say the same, once what was typed is applied. Nothing is selected or done
    under a filter that nobody sees. */
async function isSettled(tools) {
  apply(tools);
  await taken;
  return document.querySelector("form.filters")?.reportValidity() !== false && chosen.shown === JSON.stringify(filterOf(tools.params));
}

/** An exact time for a field in the reader's zone, and back. */
function toLocal(iso) {
  if (!iso || Number.isNaN(Date.parse(iso))) return "";
  const moment = new Date(iso);
  return new Date(moment.getTime() - moment.getTimezoneOffset() * 60_000).toISOString().slice(0, 19);
}
const toExact = (local) => (local ? new Date(local).toISOString() : "");

function actions(page, filter, groups, params, tools) {
  const isFlagged = filter.state === "flagged";
  const under = JSON.stringify(filter);
  const ids = [...chosen.ids];
  const act = (action) => async () => {
    // What was selected under another filter is selected no more.
    if (!(await isSettled(tools)) || chosen.shown !== under) return;
    if (chosen.all) changeAll(action, filter, filterWords(filter), done);
    else changeSome(action, ids, done);
  };
  // Who thinks better of it keeps the selection.
  const done = Object.create(tools, { refresh: { value: (wasDone) => {
    if (wasDone) chosen.ids.clear();
    if (wasDone) chosen.all = false;
    return tools.refresh();
  } } });
  const any = chosen.all || ids.length > 0;
  // The button that was pressed goes away; the next one that one may want has the focus.
  const toggle = (all) => async () => {
    if (!(await isSettled(tools))) return;
    Object.assign(chosen, { all, lost: false });
    if (!all) chosen.ids.clear();
    tools.redraw();
    (document.querySelector(all ? ".actions .main" : ".actions button") ?? document.getElementById("actions"))?.focus();
  };
  const matched = chosen.all ? matchedOf(page, filter, groups, params) : ids.length;
  const many = matched === null ? "all" : number(matched);
  const stands = chosen.all ? h("strong", {}, `All ${matched === null ? "" : `${many} `}that match, on all pages, are selected.`)
    : any ? h("strong", {}, `${count(ids.length, "grade")} selected.`)
    : h("span", { class: "quiet" }, chosen.lost ? "The filter has changed, so nothing is selected any more." : "Select grades to replay or discard them.");
  return h("div", { class: `actions${any ? " some" : ""}`, id: "actions", tabindex: "-1", role: "group", "aria-label": "What to do with the selected" },
    h("span", { role: "status" }, stands),
    isFlagged && !chosen.all ? h("button", { type: "button", key: "all", onclick: toggle(true) }, "Select all that match") : null,
    any ? h("button", { type: "button", key: "none", onclick: toggle(false) }, "Select none") : null,
    any ? h("button", { type: "button", key: "replay", class: "main", onclick: act("replay") }, `Replay ${many} …`) : null,
    any ? h("button", { type: "button", key: "discard", class: "grave", onclick: act("discard") }, `Discard ${many} …`) : null);
}

/** How many pass the filter, where the list or the groups say it exactly; else null. */
function matchedOf(page, filter, { cards, others, omitted, untold }, params) {
  if (!page.next_cursor && !params.get("cursor")) return page.jobs.length;
  if (untold || Object.keys(filter).some((name) => SELDOM.includes(name))) return null;
  return [...cards, ...others, ...omitted].reduce((sum, group) => sum + group.count, 0);
}

/** Whoever works by the keyboard need not go past the groups and the filters. */
const toTheList = () => h("button", { type: "button", class: "skip", key: "skip", onclick: () => document.getElementById("grades")?.focus() }, "Skip to the list");

/** Whoever has chosen by the keyboard need not go past all the others. */
const pastTheList = () => h("button", { type: "button", class: "past", onclick: () => (document.querySelector(".actions button") ?? document.getElementById("actions"))?.focus() }, "To what can be done with the selected");

function list(jobs, { platforms }, params, tools) {
  const isOfFlagged = (params.get("state") ?? "flagged") === "flagged";
  // A box of a list that is on its way out selects nothing.
  const isOld = () => chosen.shown !== chosen.under;
  const choose = (id) => (event) => {
    if (isOld()) return;
    Object.assign(chosen, { all: false, lost: false });
    if (event.target.checked) chosen.ids.add(id);
    else chosen.ids.delete(id);
    tools.redraw();
  };
  const movable = jobs.filter(({ state: now }) => now === "flagged" || now === "queued").map(({ id }) => id);
  const chooseAll = (event) => {
    if (isOld()) return;
    Object.assign(chosen, { all: false, lost: false });
    for (const id of movable) chosen.ids[event.target.checked ? "add" : "delete"](id);
    tools.redraw();
  };
  const isChosen = (id) => chosen.all || chosen.ids.has(id);
  const box = (job) => h("td", { class: "box" }, h("input", { type: "checkbox", checked: isChosen(job.id), disabled: !movable.includes(job.id), onchange: choose(job.id), "aria-label": `Select the grade of ${nameOf(job)}` }));
  const row = (job) => h("tr", { key: job.id },
    tools.mayChange ? box(job) : null,
    h("th", { scope: "row" }, h("a", { href: `#/jobs/${job.id}` }, nameOf(job)), job.activity_id ? h("span", { class: "quiet under" }, job.activity_id) : null),
    h("td", { "data-label": "Score", class: "figure" }, score(job)),
    h("td", { "data-label": "Platform", class: `name${params.get("platform") ? " nil" : ""}` }, job.platform),
    isOfFlagged ? null : h("td", { "data-label": "State" }, h("span", {}, state(job.state), job.state === "queued" ? waits(job, platforms) : null)),
    h("td", { "data-label": "Why", class: "why" }, job.reason ? [reason(job.reason), job.last_error ? h("span", { class: "quiet under cut" }, job.last_error) : null] : "–"),
    h("td", { "data-label": "Attempts", class: "figure nil" }, number(job.attempts)),
    h("td", { "data-label": isOfFlagged ? "Flagged" : "Changed" }, when(isOfFlagged ? job.flagged_at : job.updated_at)));
  const every = movable.length > 0 && movable.every(isChosen);
  return h("table", { class: "cards jobs", id: "grades", tabindex: "-1" }, h("caption", { class: "unseen" }, `${headingOf(params)}, newest first`),
    h("thead", {}, h("tr", {},
      tools.mayChange ? h("th", { scope: "col", class: "box" }, h("input", { type: "checkbox", checked: every, onchange: chooseAll, "aria-label": "Select all on this page" }), pastTheList()) : null,
      ["Student", "Score", "Platform", ...(isOfFlagged ? [] : ["State"]), "Why", "Attempts", isOfFlagged ? "Flagged" : "Changed"].map((text) => h("th", { scope: "col" }, text)))),
    h("tbody", {}, jobs.map(row)));
}

/** Why a queued grade does not go out, where it is its platform that stops it; else when it goes. */
function waits(job, platforms) {
  const platform = platforms.find(({ name }) => name === job.platform);
  const isStopped = platform && platform.state !== "open";
  return h("span", { class: "quiet under" }, isStopped ? `waits: ${job.platform} is ${platform.state}` : job.next_attempt_at ? ["next try ", when(job.next_attempt_at)] : null);
}

const nameOf = (job) => job.user_id ?? job.session_id ?? job.id;

function nothing(params, page, { platforms }) {
  const platform = params.get("platform");
  if (platform && !platforms.some(({ name }) => name === platform)) return unknown(platform, platforms, params);
  if (page.next_cursor) return h("p", { class: "quiet" }, "None among those that were looked at: go on with older ones.");
  const isFiltered = NAMES.some((name) => params.get(name));
  return h("p", { class: "empty" }, isFiltered ? "No grade passes this filter." : (params.get("state") ?? "flagged") === "flagged" ? "No grade is flagged. Well done." : "There is none.");
}

/** Platforms that are offered in the place of one that there is not. */
const OFFERED_MAX = 12;

/** An address that was typed, or is older than a name: the known ones, those that begin alike first. */
function unknown(platform, platforms, params) {
  const alike = ({ name }) => [...name.toLowerCase()].findIndex((letter, at) => letter !== platform[at]?.toLowerCase());
  const likeness = (known) => (alike(known) < 0 ? known.name.length : alike(known));
  const offered = [...platforms].sort((a, b) => likeness(b) - likeness(a) || a.name.localeCompare(b.name)).slice(0, OFFERED_MAX);
  const link = ({ name }) => h("li", {}, h("a", { href: `#/failures${query({ ...Object.fromEntries(params), cursor: null, platform: name })}` }, name));
  return h("div", { class: "empty", role: "status" },
    h("p", {}, "There is no platform named ", h("strong", {}, platform), ", so nothing passes this filter."),
    offered.length ? [h("p", {}, "Those that are known:"), h("ul", {}, offered.map(link))] : null,
    platforms.length > offered.length ? h("p", {}, h("a", { href: "#/platforms" }, `All ${number(platforms.length)} platforms`)) : null);
}
