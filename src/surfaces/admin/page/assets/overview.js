// What needs a person, first; then how many grades stand where, and each platform.

import { get, getIfThere } from "./api.js";
import { h, s } from "./dom.js";
import { count, number, span, state, stateWord, when } from "./words.js";

export const title = "Overview";

/** A job that could go out and has not for so long is late. */
const LATE_MS = 5 * 60_000;

export async function load({ tools }) {
  const [stats, ready, recent, bulk] = await Promise.all([
    get("/api/v1/stats"), readiness(), getIfThere("/api/v1/recent"), getIfThere("/api/v1/replays?limit=5")]);
  tools.flagged(stats.jobs.flagged ? number(stats.jobs.flagged) : null);
  return { stats, ready, recent, running: (bulk?.replays ?? []).filter(({ state: now }) => now === "running") };
}

/** What the worker itself lacks, in its own words; null if nothing. */
const readiness = () => get("/readyz").then(() => null, (error) => (error.status === 503 ? error.message : null));

export const tell = ({ stats, ready }) => {
  const needs = needsOf(stats, ready).length;
  return needs ? `Overview: ${count(needs, "thing")} to look at` : "Overview: nothing needs you";
};

export function show({ stats, ready, recent, running }) {
  const needs = needsOf(stats, ready);
  return [
    h("h1", { tabindex: "-1" }, "Overview"),
    h("section", { "aria-labelledby": "needs", class: needs.length ? "needs" : "needs well" },
      h("h2", { id: "needs" }, needs.length ? "Needs a person" : "Nothing needs you"),
      needs.length ? h("ul", {}, needs) : h("p", {}, "Every grade is delivered or on its way.")),
    running.length ? h("section", { "aria-labelledby": "running" }, h("h2", { id: "running" }, "Under way"), running.map(bar)) : null,
    tiles(stats),
    h("section", { "aria-labelledby": "platforms" }, h("h2", { id: "platforms" }, "Platforms"), table(stats.platforms, recent)),
  ];
}

/** A replay, or a discard, of many that goes on in the background. */
function bar({ id, action, who, started_at: started, total, matched, skipped }) {
  const done = matched + skipped;
  const label = `${action} by ${who}`;
  return h("p", { key: id }, `${label}, begun `, when(started), ": ",
    h("progress", { "aria-label": label, ...(total === null ? {} : { max: Math.max(1, total), value: done }) }), ` ${number(done)}${total === null ? "" : ` of ${number(total)}`}`);
}

function needsOf({ jobs, oldest_due_at: oldest, platforms }, ready) {
  const needs = [];
  const add = (key, ...content) => needs.push(h("li", { key }, ...content));
  if (ready) add("ready", h("strong", {}, "The worker is "), ready, ".");
  for (const { name, flagged } of [...platforms].sort((a, b) => b.flagged - a.flagged)) {
    if (flagged) add(`flagged ${name}`, h("a", { href: failuresOf(name) }, h("strong", {}, `${count(flagged, "grade")} failed`), ` at ${name}`), ": see why, mend it, replay.");
  }
  const named = platforms.reduce((sum, { flagged }) => sum + flagged, 0);
  if (jobs.flagged > named) add("flagged", h("a", { href: "#/failures" }, h("strong", {}, `${count(jobs.flagged - named, "grade")} failed`)), " elsewhere.");
  for (const platform of platforms) {
    const { name, state: now, since, queued, last_error: error, next_probe_at: probe } = platform;
    if (now === "held") add(`held ${name}`, h("strong", {}, `${name} is held`), since ? [" since ", when(since, "both")] : "", `: it fails again and again, and ${count(queued, "grade")} wait without using up attempts.`, error ? [" It said: ", h("q", {}, error)] : "", probe ? [" Next probe ", when(probe), "."] : "");
    if (now === "paused") add(`paused ${name}`, h("strong", {}, `${name} is paused`), since ? [" since ", when(since, "both")] : "", `: ${count(queued, "grade")} wait until somebody `, h("a", { href: "#/platforms" }, "resumes it"), ".");
  }
  if (oldest && Date.now() - Date.parse(oldest) > LATE_MS) add("late", h("strong", {}, "Grades are late"), ": the oldest could have gone out ", when(oldest), ".");
  return needs;
}

const failuresOf = (name) => `#/failures?platform=${encodeURIComponent(name)}`;

function tiles({ jobs, oldest_due_at: oldest }) {
  const tile = (name, href) =>
    h("a", { class: `tile ${name}`, href }, h("span", { class: "figure" }, number(jobs[name])), h("span", {}, stateWord(name)));
  return h("section", { "aria-label": "Grades by state", class: "tiles" },
    ["flagged", "queued", "delivered", "superseded", "discarded"].map((name) => tile(name, name === "flagged" ? "#/failures" : `#/failures?state=${name}`)),
    h("div", { class: "tile" }, h("span", { class: "figure" }, oldest ? h("span", { title: oldest }, span(Date.now() - Date.parse(oldest))) : "–"), h("span", {}, "Oldest that waits for us")));
}

function table(platforms, recent) {
  if (!platforms.length) return h("p", { class: "quiet" }, "No grade has gone to a platform yet.");
  const row = (platform) => {
    const hour = recent?.platforms.find(({ name }) => name === platform.name);
    return h("tr", { key: platform.name },
      h("th", { scope: "row" }, platform.name),
      h("td", { "data-label": "State" }, state(platform.state)),
      h("td", { "data-label": "Queued", class: "figure" }, platform.queued ? h("a", { href: `${failuresOf(platform.name)}&state=queued` }, number(platform.queued)) : "0"),
      h("td", { "data-label": "Failed", class: "figure" }, platform.flagged ? h("a", { href: failuresOf(platform.name) }, number(platform.flagged)) : "0"),
      recent ? h("td", { "data-label": "Last hour" }, hourOf(hour)) : null,
      recent ? h("td", { "data-label": "Attempts a minute", class: "chart-cell" }, chart(platform.name, hour)) : null);
  };
  return h("table", { class: "cards" }, h("caption", { class: "unseen" }, "Platforms with their state"),
    h("thead", {}, h("tr", {}, ["Platform", "State", "Queued", "Failed", ...(recent ? ["Last hour", "Attempts a minute"] : [])].map((text) => h("th", { scope: "col" }, text)))),
    h("tbody", {}, platforms.map(row)));
}

const sum = (numbers) => numbers.reduce((a, b) => a + b, 0);

function hourOf(hour) {
  const [delivered, failed] = hour ? [sum(hour.delivered), sum(hour.failed)] : [0, 0];
  if (!delivered && !failed) return h("span", { class: "quiet" }, "no attempt");
  const share = (100 * delivered) / (delivered + failed);
  // Never a round 100 where something failed.
  const percent = failed && share > 99 ? Math.floor(share * 10) / 10 : Math.round(share);
  return h("span", {}, h("strong", {}, `${percent} %`), ` of ${number(delivered + failed)} ended well`);
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
