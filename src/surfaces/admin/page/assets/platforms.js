// Each platform: how it is, what may go there, its tokens, a check of the way there, and the handles an operator has.

import { get, getIfThere, post } from "./api.js";
import { changePlatform } from "./change.js";
import { h, say } from "./dom.js";
import { byNeed, chart, counted, fewOf, hourOf, lacksToken, pausedBy, pausesOf, rateOf, stateOf, takesFew, youngSince } from "./overview.js";
import { count, number, reason, when } from "./words.js";

export const title = "Platforms";
/** The number of failures for the menu comes with it. */
export const countsFlagged = true;

/** From so many on there is a field to find one by its name; and so many are shown at once. */
const FIND_FROM = 9;
const SHOWN_MAX = 60;
/** A check has a minute in all. */
const CHECK_WITHIN_MS = 75_000;

export async function load({ tools }) {
  const [{ platforms }, recent] = await Promise.all([get("/api/v1/platforms"), getIfThere("/api/v1/recent")]);
  const flagged = platforms.reduce((sum, platform) => sum + platform.flagged, 0);
  tools.flagged(flagged);
  return { platforms, recent, pauses: await pausesOf(platforms) };
}

export const tell = ({ platforms }) => `Platforms: ${count(platforms.length, "platform")}`;

const MEANING = {
  open: "Grades are sent as they come.",
  held: "It failed again and again, so its grades wait without using up attempts while one probe at a time goes out. One success opens it.",
  paused: "Its deliveries are stopped and its grades wait, until an operator resumes them.",
};

export function show({ platforms, recent, pauses }, { params, tools }) {
  const wanted = (params.get("name") ?? "").toLowerCase();
  const found = platforms.filter(({ name }) => name.toLowerCase().includes(wanted)).sort(byNeed);
  return [
    h("h1", { tabindex: "-1" }, "Platforms"),
    platforms.length >= FIND_FROM || wanted ? finder(params, found.length, tools) : null,
    platforms.length ? null : h("p", { class: "quiet empty" }, "No platform is configured, and no grade has gone to one yet."),
    found.length ? counted(recent) : null,
    h("div", { class: "grid" }, found.slice(0, SHOWN_MAX).map((platform) => card(platform, recent, pauses, tools))),
    found.length > SHOWN_MAX ? h("p", { class: "quiet" }, `${number(found.length - SHOWN_MAX)} more: find them by name.`) : null,
  ];
}

function finder(params, found, tools) {
  const find = (event) => {
    const next = new URLSearchParams(tools.params);
    if (event.target.value.trim()) next.set("name", event.target.value.trim());
    else next.delete("name");
    tools.filter(next, true);
  };
  return h("div", { class: "field finder", role: "search" }, h("label", { for: "find" }, "Find by name"),
    h("input", { id: "find", type: "search", value: params.get("name") ?? "", autocomplete: "off", spellcheck: "false", oninput: find }),
    h("p", { class: "quiet", role: "status" }, found || !params.get("name") ? `${count(found, "platform")}, those that need a look first.` : "No platform's name has that in it."),
    !found && params.get("name") ? h("p", {}, h("a", { href: "#/platforms" }, "Show all platforms")) : null);
}

function card(platform, recent, pauses, tools) {
  const { name, state: now, since, queued, flagged, last_error: error, next_probe_at: probe, origins } = platform;
  const hour = recent?.platforms.find((each) => each.name === name);
  const of = `platform=${encodeURIComponent(name)}`;
  const row = (term, ...what) => h("div", {}, h("dt", {}, term), h("dd", {}, ...what));
  const linked = (value, href, what) => (value ? h("a", { href, "aria-label": `${count(value, "grade")} ${what} at ${name}` }, number(value)) : "0");
  return h("section", { class: `card platform ${now}`, key: name, "aria-label": name },
    h("div", { class: "head" }, h("h2", { class: "name" }, name), stateOf(platform, recent)),
    origins?.length ? h("p", { class: "quiet under" }, origins.map((origin) => origin.replace(/^https:[/][/]/, "")).join(", ")) : null,
    h("p", {}, takesFew(platform, recent) ? fewAt(platform, recent) : now === "open" && origins?.length === 0 ? "No grade has gone there yet." : MEANING[now] ?? ""),
    h("dl", {},
      since && now !== "open" ? row(now === "paused" ? "Paused" : "Held", "since ", when(since, "both"), now === "paused" ? pausedBy(name, pauses) : null) : null,
      row("Queued", linked(queued, `#/failures?state=queued&${of}`, "queued")),
      row("Flagged", linked(flagged, `#/failures?${of}`, "flagged")),
      recent ? row(youngSince(recent) ? "Since start" : "Last hour", hourOf(hour)) : null,
      recent ? row("Rate", rateOf(hour, recent)) : null,
      row("Under way", ...paceOf(platform)),
      platform.tokens ? row("Tokens", ...tokensOf(platform)) : null,
      probe && now === "held" ? row("Next probe", when(probe, "both")) : null,
      error ? row("Last error", h("q", {}, error)) : null),
    hour ? h("div", { class: "charted" }, chart(name, hour), h("p", { class: "quiet under" }, "Attempts by minute, an hour ago to now; red ones failed")) : null,
    tools.mayChange ? handles(platform, tools) : null,
    checkOf(name));
}

function fewAt(platform, recent) {
  const of = `platform=${encodeURIComponent(platform.name)}`;
  const list = platform.flagged ? h("a", { href: `#/failures?${of}` }, "See its failures") : h("a", { href: `#/failures?state=queued&${of}` }, "See what waits to be tried again");
  return [`It answers, but takes few grades: ${fewOf(platform, recent)}. `, list, "."];
}

/** How many attempts there may be at a time, and why fewer than usual. */
function paceOf({ state: now, limits, rests_until: rests }) {
  const { under_way: busy, concurrency_now: room, concurrency: most } = limits;
  const going = number(busy);
  const usual = `else at most ${number(most)} at a time`;
  if (now === "paused") return [`${going}; none begins while it is paused, ${usual}`];
  if (rests && Date.parse(rests) > Date.now()) return [`${going}; it asked for fewer requests, so none begins before `, when(rests, "both")];
  if (now === "held") return [`${going}; one probe at a time, ${usual}`];
  if (room < most) return [`${going} of at most ${number(room)} at a time, more with each success, up to ${number(most)}`];
  return [`${going} of at most ${number(most)} at a time`];
}

function tokensOf(platform) {
  const { tokens } = platform;
  const given = tokens.granted_at ? ["given ", when(tokens.granted_at)] : ["none given since the worker's start"];
  if (!tokens.failed_at) return given;
  const refused = [lacksToken(platform) ? h("strong", { class: "wrong" }, "refused ") : "refused before, ", when(tokens.failed_at), ": ", reason(tokens.reason), tokens.error ? [", ", h("q", {}, tokens.error)] : null];
  return lacksToken(platform) ? [...refused, "; ", ...given] : [...given, "; ", ...refused];
}

function handles(platform, tools) {
  const { name, state: now } = platform;
  const handle = (action, text) => h("button", { type: "button", key: action + text, "aria-label": `${text.replace(" …", "")} ${name}`, onclick: () => changePlatform(name, action, tools) }, text);
  const waits = checks.get(name)?.waits === true;
  return h("div", { class: "buttons" },
    h("button", { type: "button", key: "check", "aria-label": `Check ${name}`, disabled: waits, onclick: () => check(name, tools) }, waits ? "Checking …" : "Check"),
    now === "paused" ? handle("resume", "Resume") : handle("pause", "Pause …"),
    now === "held" ? handle("resume", "End the hold …") : null);
}

/** What the last check of each found; it stays until the next one. */
const checks = new Map();

async function check(name, tools) {
  checks.set(name, { waits: true });
  tools.redraw();
  say(`Checking ${name}`);
  try {
    const found = await post(`/api/v1/platforms/${encodeURIComponent(name)}/check`, undefined, CHECK_WITHIN_MS);
    checks.set(name, { found, at: new Date().toISOString() });
    say(`${name}: ${verdictOf(found)}`);
  } catch (error) {
    checks.set(name, { error: error.message });
    say(`${name} was not checked: ${error.message}`);
  }
  tools.redraw();
}

function verdictOf({ ok, checks: steps }) {
  const failed = steps.filter(({ status }) => status === "failed").length;
  const warnings = steps.filter(({ status }) => status === "warning").length;
  if (!ok) return `${count(failed, "step")} of ${number(steps.length)} failed`;
  return warnings ? `nothing is wrong that can be seen from here; ${count(warnings, "thing is", "things are")} worth a look` : "all is well";
}

const toneOf = ({ ok, checks: steps }) => (ok ? (steps.every(({ status }) => status === "ok") ? "good" : "unsure") : "wrong");

const MARKS = { ok: ["✓", "well"], warning: ["▲", "look"], failed: ["!", "badly"] };

function checkOf(name) {
  const last = checks.get(name);
  if (!last) return null;
  const box = (...content) => h("div", { class: "check", role: "group", "aria-label": `Check of ${name}` }, ...content);
  if (last.waits) return box(h("p", { class: "quiet" }, "Name, connection, clock and token are tried from where the worker runs: up to a minute."));
  if (last.error) return box(h("p", { class: "wrong" }, `It was not checked: ${last.error}.`));
  const step = ({ step: what, status, seen, advice }) => h("li", { class: MARKS[status]?.[1] ?? "" },
    h("span", { class: "sign", "aria-hidden": "true" }, MARKS[status]?.[0] ?? "?"),
    h("div", {}, h("strong", {}, what), status === "ok" ? null : h("span", { class: "quiet" }, ` ${status}`), `: ${seen}`, advice ? h("p", { class: "advice" }, advice) : null));
  const verdict = verdictOf(last.found);
  return box(h("p", {}, h("strong", { class: toneOf(last.found) }, verdict[0].toUpperCase() + verdict.slice(1)), h("span", { class: "quiet" }, ", checked ", when(last.at))),
    h("ul", { class: "steps" }, last.found.checks.map(step)));
}
