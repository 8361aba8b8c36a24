// What needs a person, first; then how many grades stand where, and each platform.

import { get, getIfThere } from "./api.js";
import { progress } from "./bulk.js";
import { h, s } from "./dom.js";
import { count, number, reason, span, state, stateWord, when } from "./words.js";

export const title = "Overview";
/** The number of failures for the menu comes with it. */
export const countsFlagged = true;

/** A job that could go out and has not for so long is late. */
const LATE_MS = 5 * 60_000;
/** So many platforms are told of one by one; the page of platforms has all. */
const TOLD_MAX = 8;
const ROWS_MAX = 30;

export async function load({ tools }) {
  const [stats, ready, recent, bulk, groups] = await Promise.all([
    get("/api/v1/stats"), readiness(), getIfThere("/api/v1/recent"), getIfThere("/api/v1/replays?limit=20"),
    getIfThere("/api/v1/groups?state=flagged")]);
  tools.flagged(stats.jobs.flagged);
  const pauses = await pausesOf(stats.platforms);
  return { stats, ready, recent, pauses, groups: groups?.groups ?? [], running: (bulk?.replays ?? []).filter(({ state: now }) => now === "running") };
}

/** What the worker itself lacks, in its own words; null if nothing. */
const readiness = () => get("/readyz").then(() => null, (error) => (error.status === 503 ? error.message : null));

/** Who paused a platform, and why, as far as the newest entries of the audit log tell. */
export async function pausesOf(platforms) {
  if (!platforms.some(({ state: now }) => now === "paused")) return new Map();
  const found = await getIfThere("/api/v1/audit?limit=200");
  const pauses = new Map();
  for (const entry of found?.entries ?? []) {
    const name = entry.filter?.platform;
    if (name && (entry.action === "pause" || entry.action === "resume") && !pauses.has(name)) pauses.set(name, entry);
  }
  return pauses;
}

/** "by ops: maintenance tonight", where it is known. */
export function pausedBy(name, pauses) {
  const entry = pauses.get(name);
  if (entry?.action !== "pause") return null;
  return [` by ${entry.who}`, entry.note ? [" (", h("q", {}, entry.note), ")"] : null];
}

/** Whether the last word of its token endpoint was a no. */
export const lacksToken = ({ tokens }) => Boolean(tokens?.failed_at && (!tokens.granted_at || tokens.failed_at > tokens.granted_at));

export const tell = (data) => {
  const needs = needsOf(data).length;
  return needs ? `Overview: ${count(needs, "thing")} to look at` : "Overview: nothing needs you";
};

export function show(data) {
  const { stats, recent, running } = data;
  const needs = needsOf(data);
  return [
    h("h1", { tabindex: "-1" }, "Overview"),
    h("section", { "aria-labelledby": "needs", class: needs.length ? "needs" : "needs well" },
      h("h2", { id: "needs" }, needs.length ? "Needs a person" : "Nothing needs you"),
      needs.length ? h("ul", {}, needs) : h("p", {}, "Every grade is delivered or on its way.")),
    running.length ? h("section", { "aria-labelledby": "running", class: "running" }, h("h2", { id: "running" }, "Under way"), running.map(bar)) : null,
    tiles(stats),
    h("section", { "aria-labelledby": "platforms" }, h("h2", { id: "platforms" }, "Platforms"), counted(recent), table(stats.platforms, recent)),
  ];
}

const HOUR_MS = 3_600_000;

/** Since when attempts are counted, where that is less than an hour: the start of the worker. Else null. */
export const youngSince = (recent) => (recent?.since && Date.now() - Date.parse(recent.since) < HOUR_MS ? recent.since : null);

/** Says so where it is less. */
export function counted(recent) {
  const since = youngSince(recent);
  return since ? h("p", { class: "quiet" }, "Attempts are counted since ", when(since, "both"), ", when the worker started.") : null;
}

/** A replay, or a discard, of many that goes on in the background. */
function bar(task) {
  return h("p", { key: task.id }, h("a", { href: `#/bulk/${task.id}` }, `${task.action === "discard" ? "Discard" : "Replay"} by ${task.who}`), ", begun ", when(task.started_at), ": ", progress(task));
}

function needsOf({ stats: { jobs, oldest_due_at: oldest, platforms }, ready, recent, groups, pauses }) {
  const needs = [];
  const add = (key, ...content) => needs.push(h("li", { key }, ...content));
  if (ready) add("ready", h("strong", {}, "The worker is not ready: "), ready, ".");
  if (oldest && Date.now() - Date.parse(oldest) > LATE_MS) add("late", h("strong", {}, "Grades are late"), ": the oldest could have gone out ", when(oldest), ".");
  failed(jobs, platforms, groups, recent, add);
  const some = (which, tell) => {
    const found = platforms.filter(which);
    found.slice(0, TOLD_MAX).forEach(tell);
    if (found.length > TOLD_MAX) add(`more ${tell.name}`, h("a", { href: "#/platforms" }, `${number(found.length - TOLD_MAX)} more platforms`), " are in the same state.");
  };
  some(({ state: now }) => now === "held", function held({ name, since, queued, last_error: error, next_probe_at: probe }) {
    add(`held ${name}`, h("strong", {}, `${name} is held`), since ? [" since ", when(since, "both")] : null, `: it fails again and again, and ${count(queued, "grade")} wait${queued === 1 ? "s" : ""} without using up attempts.`, error ? [" It said ", h("q", {}, error), "."] : null, probe ? [" Next probe ", when(probe), "."] : null, " ", h("a", { href: "#/platforms" }, "Check it"), ".");
  });
  some((platform) => !platform.flagged && takesFew(platform, recent), function few(platform) {
    add(`few ${platform.name}`, h("strong", {}, `${platform.name} takes few grades`), ": it answers, but ", fewOf(platform, recent), ". ", h("a", { href: `${failuresOf(platform.name)}&state=queued` }, "See what waits to be tried again"), ".");
  });
  some(({ state: now }) => now === "paused", function paused({ name, since, queued }) {
    add(`paused ${name}`, h("strong", {}, `${name} is paused`), pausedBy(name, pauses), since ? [" since ", when(since, "both")] : null, queued ? `: ${count(queued, "grade")} wait${queued > 1 ? "" : "s"} until somebody ` : ": nothing waits there now; what comes will wait until somebody ", h("a", { href: "#/platforms" }, "resumes it"), ".");
  });
  some((platform) => platform.state === "open" && lacksToken(platform), function token({ name, tokens }) {
    add(`token ${name}`, h("strong", {}, `${name} gives no token`), " (", when(tokens.failed_at), "): ", h("q", {}, tokens.error), ". ", h("a", { href: "#/platforms" }, "Check it"), ".");
  });
  return needs;
}

/** What has failed, by platform, with the reasons. */
function failed(jobs, platforms, groups, recent, add) {
  const worst = platforms.filter(({ flagged }) => flagged).sort((a, b) => b.flagged - a.flagged);
  for (const platform of worst.slice(0, TOLD_MAX)) {
    const { name, flagged } = platform;
    const reasons = groups.filter(({ platform }) => platform === name);
    const why = reasons.slice(0, 3).flatMap((group, index) => [index ? ", " : "", reasons.length > 1 ? `${number(group.count)} ` : "", reason(group.reason)]);
    add(`flagged ${name}`, h("a", { href: failuresOf(name) }, h("strong", {}, `${count(flagged, "grade")} flagged`), ` at ${name}`), why.length ? [": ", why, "."] : ": see why, mend it, replay.",
      takesFew(platform, recent) ? [" It answers, but ", fewOf(platform, recent), "."] : null);
  }
  const rest = jobs.flagged - worst.slice(0, TOLD_MAX).reduce((all, { flagged }) => all + flagged, 0);
  if (rest > 0) add("flagged", h("a", { href: "#/failures" }, h("strong", {}, `${count(rest, "grade")} flagged`)), ` at ${worst.length > TOLD_MAX ? `${number(worst.length - TOLD_MAX)} other platforms` : "other platforms"}.`);
}

const failuresOf = (name) => `#/failures?platform=${encodeURIComponent(name)}`;

function tiles({ jobs, oldest_due_at: oldest }) {
  const tile = (name, href) =>
    h("a", { class: `tile ${name}${jobs[name] ? "" : " none"}`, href }, h("span", { class: "figure" }, number(jobs[name])), h("span", {}, stateWord(name)));
  return h("section", { "aria-label": "Grades by state", class: "tiles" },
    ["flagged", "queued", "delivered", "superseded", "discarded"].map((name) => tile(name, name === "flagged" ? "#/failures" : `#/failures?state=${name}`)),
    h("div", { class: `tile${oldest ? "" : " none"}` }, h("span", { class: "figure" }, oldest ? h("span", { title: oldest }, span(Date.now() - Date.parse(oldest))) : "–"), h("span", {}, oldest ? "Oldest that is due" : "None is due")));
}

const SEVERITY = { held: 0, paused: 1, open: 2 };
/** Those that need a look first, then those with work, then by name. */
export const byNeed = (a, b) => SEVERITY[a.state] - SEVERITY[b.state] || Math.sign(b.flagged) - Math.sign(a.flagged) || b.flagged - a.flagged || b.queued - a.queued || a.name.localeCompare(b.name);

function table(platforms, recent) {
  if (!platforms.length) return h("p", { class: "quiet empty" }, "No platform is configured, and no grade has gone to one yet.");
  const row = (platform) => {
    const hour = hourAt(platform, recent);
    const nil = (value) => (value ? "" : " nil");
    const over = youngSince(recent) ? "Since start" : "Last hour";
    return h("tr", { key: platform.name },
      h("th", { scope: "row", class: "name" }, platform.name),
      h("td", { class: "mark" }, stateOf(platform, recent)),
      h("td", { "data-label": "Queued", class: `figure${nil(platform.queued)}` }, platform.queued ? h("a", { href: `${failuresOf(platform.name)}&state=queued`, "aria-label": `${count(platform.queued, "grade")} queued at ${platform.name}` }, number(platform.queued)) : "0"),
      h("td", { "data-label": "Flagged", class: `figure${nil(platform.flagged)}` }, platform.flagged ? h("a", { href: failuresOf(platform.name), "aria-label": `${count(platform.flagged, "grade")} flagged at ${platform.name}` }, number(platform.flagged)) : "0"),
      recent ? h("td", { "data-label": "Rate", class: `figure${nil(hour)}` }, rateOf(hour, recent)) : null,
      recent ? h("td", { "data-label": over }, hourOf(hour)) : null,
      recent ? h("td", { "data-label": "Attempts", class: `chart-cell${nil(hour)}` }, chart(platform.name, hour)) : null);
  };
  const shown = [...platforms].sort(byNeed).slice(0, ROWS_MAX);
  return [
    h("table", { class: "cards" }, h("caption", { class: "unseen" }, "Platforms with their state"),
      h("thead", {}, h("tr", {}, ["Platform", "State", "Queued", "Flagged", ...(recent ? ["Rate", youngSince(recent) ? "Success since the start" : "Success in the last hour", "Attempts, an hour ago to now"] : [])].map((text) => h("th", { scope: "col" }, text)))),
      h("tbody", {}, shown.map(row))),
    platforms.length > shown.length ? h("p", {}, h("a", { href: "#/platforms" }, `All ${number(platforms.length)} platforms`)) : null];
}

/** Attempts a minute over the last five minutes, or since the start where that is shorter. */
export function rateOf(hour, recent) {
  const last = (values) => sum(values.slice(-RATE_OVER));
  const minutes = recent.since ? (Date.now() - Date.parse(recent.since)) / 60_000 : RATE_OVER;
  const a_minute = hour ? (last(hour.delivered) + last(hour.failed)) / Math.min(RATE_OVER, Math.max(1, minutes)) : 0;
  if (!a_minute) return h("span", { class: "quiet" }, "–");
  return h("span", { title: "attempts a minute, over the last five minutes" }, `${a_minute < 10 ? Math.round(a_minute * 10) / 10 : number(Math.round(a_minute))} / min`);
}
const RATE_OVER = 5;

const sum = (numbers) => numbers.reduce((a, b) => a + b, 0);

const endsOf = (hour) => (hour ? [sum(hour.delivered), sum(hour.failed)] : [0, 0]);
const hourAt = ({ name }, recent) => recent?.platforms.find((each) => each.name === name);

/** Fewer attempts say little. */
const FEW_FROM = 5;

/** Whether a platform that is open takes less than half of what it is sent. */
export function takesFew(platform, recent) {
  const [delivered, failed] = endsOf(hourAt(platform, recent));
  return platform.state === "open" && delivered + failed >= FEW_FROM && delivered < failed;
}

/** "0 of 11 attempts in the last hour went well". */
export function fewOf(platform, recent) {
  const [delivered, failed] = endsOf(hourAt(platform, recent));
  return `${number(delivered)} of ${count(delivered + failed, "attempt")} ${youngSince(recent) ? "since the start" : "in the last hour"} went well`;
}

/** Its state as a mark: one that takes few grades is open, and yet not well. */
export const stateOf = (platform, recent) => state(takesFew(platform, recent) ? "few" : platform.state);

function hourOf(hour) {
  const [delivered, failed] = endsOf(hour);
  if (!delivered && !failed) return h("span", { class: "quiet" }, "no attempt");
  const share = (100 * delivered) / (delivered + failed);
  // Never a round 100 where something failed.
  const percent = failed && share > 99 ? Math.floor(share * 10) / 10 : Math.round(share);
  return h("span", {}, h("strong", { class: share < 50 ? "wrong" : null }, `${percent} %`), ` of ${count(delivered + failed, "attempt")}`);
}

const WIDTH = 3;
const HEIGHT = 30;

/** Attempts of the last hour, a bar a minute: those that ended well below, those that failed on top. */
function chart(name, hour) {
  if (!hour) return null;
  const most = Math.max(1, ...hour.delivered.map((delivered, index) => delivered + hour.failed[index]));
  const bars = hour.delivered.flatMap((delivered, index) => {
    const failed = hour.failed[index];
    const [up, down] = [delivered, failed].map((value) => (value ? Math.max(1, (value / most) * HEIGHT) : 0));
    const bar = (kind, y, height) => (height ? s("rect", { class: kind, x: index * WIDTH, y, width: WIDTH - 0.6, height }) : null);
    return [bar("delivered", HEIGHT - up, up), bar("failed", Math.max(0, HEIGHT - up - down), down)];
  });
  const label = `${name}, last hour: ${number(sum(hour.delivered))} delivered, ${number(sum(hour.failed))} failed, at most ${number(most)} attempts a minute`;
  return s("svg", { class: "chart", viewBox: `0 0 ${60 * WIDTH} ${HEIGHT}`, role: "img", "aria-label": label, preserveAspectRatio: "none" },
    s("title", {}, label), s("line", { x1: 0, y1: HEIGHT, x2: 60 * WIDTH, y2: HEIGHT }), bars);
}

export { chart, hourOf };
