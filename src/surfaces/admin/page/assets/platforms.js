// Each platform: how it is, what waits there, and the two handles an operator has.

import { get, getIfThere } from "./api.js";
import { changePlatform } from "./change.js";
import { h } from "./dom.js";
import { chart, hourOf } from "./overview.js";
import { count, number, state, when } from "./words.js";

export const title = "Platforms";

export async function load({ tools }) {
  const [{ platforms }, recent] = await Promise.all([get("/api/v1/platforms"), getIfThere("/api/v1/recent")]);
  const flagged = platforms.reduce((sum, platform) => sum + platform.flagged, 0);
  tools.flagged(flagged ? number(flagged) : null);
  return { platforms, recent };
}

export const tell = ({ platforms }) => `Platforms: ${count(platforms.length, "platform")}`;

const MEANING = {
  open: "Grades are sent as they come.",
  held: "It failed again and again, so its grades wait without using up attempts while one probe at a time goes out. One success opens it.",
  paused: "An operator has stopped its deliveries. Its grades wait.",
};

export function show({ platforms, recent }, { tools }) {
  return [
    h("h1", { tabindex: "-1" }, "Platforms"),
    platforms.length ? null : h("p", { class: "quiet" }, "No platform is configured, and no grade has gone to one yet."),
    h("div", { class: "grid" }, platforms.map((platform) => card(platform, recent, tools))),
  ];
}

function card(platform, recent, tools) {
  const { name, state: now, since, queued, flagged, last_error: error, next_probe_at: probe } = platform;
  const hour = recent?.platforms.find((each) => each.name === name);
  const of = `platform=${encodeURIComponent(name)}`;
  const row = (term, ...what) => h("div", {}, h("dt", {}, term), h("dd", {}, ...what));
  const handle = (action, text) => h("button", { type: "button", "aria-label": `${text} ${name}`, onclick: () => changePlatform(name, action, tools) }, text);
  return h("section", { class: `card platform ${now}`, key: name, "aria-label": name },
    h("div", { class: "head" }, h("h2", {}, name), state(now)),
    h("p", {}, MEANING[now] ?? ""),
    h("dl", {},
      since && now !== "open" ? row("Since", when(since, "both")) : null,
      row("Queued", queued ? h("a", { href: `#/failures?state=queued&${of}` }, number(queued)) : "0"),
      row("Failed", flagged ? h("a", { href: `#/failures?${of}` }, number(flagged)) : "0"),
      recent ? row("Last hour", hourOf(hour)) : null,
      probe ? row("Next probe", when(probe, "both")) : null,
      error ? row("Last error", h("q", {}, error)) : null),
    hour ? chart(name, hour) : null,
    tools.mayChange ? h("div", { class: "buttons" },
      now === "paused" ? handle("resume", "Resume") : handle("pause", "Pause"),
      now === "held" ? handle("resume", "End the hold") : null) : null);
}
