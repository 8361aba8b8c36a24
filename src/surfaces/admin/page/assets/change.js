// Replays, discards, pauses: a count first, a word of confirmation, what was done, and what became of it since.

import { call, get, getIfThere, post } from "./api.js";
import { became, nowOf, progress } from "./bulk.js";
import { ask } from "./dialog.js";
import { h } from "./dom.js";
import { count, number, reason } from "./words.js";

const AT_ONCE = 4;
const SHOWN_MAX = 500;
/** Grades that are asked for in one round. */
const ASKED_MAX = 50;

/** How often what goes on is asked for. */
const SOON_MS = 150;
const UNDER_WAY_MS = 1000;
const QUEUED_MS = 5000;

const VERBS = { replay: ["Replay", "Replaying", "Replayed"], discard: ["Discard", "Discarding", "Discarded"] };

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

const auditLog = (tools) => (tools.keepsNotes ? [" and at ", h("a", { href: "#/audit" }, "the audit log")] : null);

/** Replays or discards the grades of a list of ids. */
export function changeSome(action, ids, tools) {
  const [verb] = VERBS[action];
  const fate = action === "discard" ? "given up: not sent any more. This cannot be undone." : "tried again, with a fresh set of attempts.";
  const [one] = ids;
  ask({
    title: `${verb} ${count(ids.length, "grade")}?`,
    text: h("p", {}, `${ids.length === 1 ? "It is" : "They are"} ${fate}`),
    verb, grave: action === "discard", note: tools.keepsNotes,
    look: [h("a", { href: `#/jobs/${one}` }, "the grade"), auditLog(tools)],
    run: async (show, note, goesOn) => {
      const results = await each(ids, action, note, show, goesOn);
      show(told(action, results, tools));
      return () => watchEach(action, results, show, goesOn, tools);
    },
  }, tools);
}

/** One after the other, a few at a time; what came of each. */
async function each(ids, action, note, show, goesOn) {
  const results = [];
  const waiting = [...ids];
  const title = `${VERBS[action][1]} ${count(ids.length, "grade")} …`;
  const worker = async () => {
    while (waiting.length && goesOn()) {
      const id = waiting.shift();
      try {
        results.push({ id, ...stateOf(await post(`/api/v1/jobs/${id}/${action}`, note ? { note } : undefined)) });
      } catch (error) {
        // Of one alone the whole dialog tells.
        if (ids.length === 1) throw error;
        results.push({ id, state: error.isUnsure ? "unsure" : "refused", why: error.message });
      }
      show({ title, more: h("p", {}, h("progress", { max: ids.length, value: results.length, "aria-label": "grades done" }), ` ${results.length} of ${ids.length}; whoever closes this leaves the others as they are`) });
    }
  };
  show({ title, more: h("progress", { "aria-label": "under way" }) });
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  return results;
}

const stateOf = ({ state, reason: why, user_id: name }) => ({ state, reason: why, name });

/** Until none is queued any more, or nobody looks. */
async function watchEach(action, results, show, goesOn, tools) {
  const queued = () => results.filter(({ state }) => state === "queued");
  let turn = 0;
  for (let wait = SOON_MS; queued().length && goesOn(); wait = Math.min(QUEUED_MS, wait * 2)) {
    await sleep(wait);
    // Those that were asked about longest ago come first.
    const waiting = queued().sort((a, b) => (a.asked ?? 0) - (b.asked ?? 0)).slice(0, ASKED_MAX);
    const worker = async () => {
      while (waiting.length && goesOn()) {
        const result = Object.assign(waiting.shift(), { asked: turn += 1 });
        // Whatever is wrong with the asking, it is queued, and asked for again.
        await get(`/api/v1/jobs/${result.id}`).then((job) => Object.assign(result, stateOf(job)), (error) => { if (error.status === 404) result.state = "gone"; });
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, worker));
    if (goesOn()) show(told(action, results, tools));
  }
}

/** In the order in which they are told. */
const BECAME = {
  delivered: "delivered", queued: "queued again", flagged: "flagged again", superseded: "superseded: a newer grade of the same cell is there",
  discarded: "discarded", gone: "not there any more", refused: "refused", unsure: "not known",
};

function told(action, results, tools) {
  const of = Object.keys(BECAME).map((state) => [results.filter((result) => result.state === state).length, state]).filter(([some]) => some);
  const some = Object.fromEntries(of.map(([value, state]) => [state, value]));
  const short = of.map(([value, state]) => `${results.length === 1 ? "" : `${number(value)} `}${BECAME[state].split(":")[0]}`).join(", ");
  const done = results.length - (some.refused ?? 0) - (some.unsure ?? 0);
  const failed = some.flagged || some.refused || some.unsure;
  const more = some.queued ? `: watch here what becomes of ${some.queued === 1 ? "it" : "them"}, or close this; ${some.queued === 1 ? "it goes" : "they go"} on in the worker` : "";
  const row = ({ id, name, state, reason: why, why: refusal }) => h("tr", { key: id },
    h("td", {}, h("a", { href: `#/jobs/${id}`, class: name ? null : "id" }, name ?? id)),
    h("td", { class: state === "flagged" || refusal ? "wrong" : null }, BECAME[state] ?? state, state === "flagged" && why ? [": ", reason(why)] : null, refusal ? `: ${refusal}` : null));
  return {
    title: `${VERBS[action][2]} ${count(done, "grade")}${action === "replay" || failed ? `: ${short}` : ""}`,
    told: [h("p", { class: failed ? "wrong" : some.queued ? null : "done" }, `${short[0].toUpperCase()}${short.slice(1)}${more}.`),
      some.unsure ? h("p", {}, "Where it is not known whether it was done, look at the grade", auditLog(tools), " before you do it again.") : null],
    more: h("div", { class: "scrolls", tabindex: "0", role: "region", "aria-label": "What became of each" },
      h("table", {}, h("caption", { class: "unseen" }, "What became of each grade"),
        h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Grade"), h("th", { scope: "col" }, "Now"))),
        h("tbody", {}, results.slice(0, SHOWN_MAX).map(row)))),
  };
}

/** Replays or discards all that pass a filter. The question stands there at once; the numbers come as they are known. */
export function changeAll(action, filter, words, tools) {
  const known = {};
  const again = ask({
    ...question(action, words, known),
    grave: action === "discard", note: tools.keepsNotes,
    look: [h("a", { href: "#/bulk" }, "the bulk changes"), auditLog(tools)],
    run: (show, note, goesOn) => runAll(action, filter, note, show, goesOn),
  }, tools);
  const learn = (more) => again(question(action, words, Object.assign(known, more)));
  const rehearse = () => post(`/api/v1/${action}`, { filter, dry_run: true }).then((planned) => learn({ planned, matched: planned.matched }), (error) => learn({ error: error.message }));
  const counted = countOf(filter).then((matched) => {
    // A rehearsal that is over already knows better.
    if (matched !== null && !known.planned) learn({ matched });
    return matched;
  }, () => null);
  if (action === "replay") rehearse();
  else counted.then((matched) => (matched === null ? rehearse() : null));
}

/** How many flagged grades pass a filter, where the groups say it exactly; else null. */
async function countOf({ state, platform, reason: why, ...others }) {
  if (state !== "flagged" || Object.keys(others).length) return null;
  const found = await getIfThere("/api/v1/groups?state=flagged");
  if (!found || found.omitted) return null;
  const fits = (group) => (!platform || group.platform === platform) && (!why || group.reason === why);
  return found.groups.filter(fits).reduce((sum, group) => sum + group.count, 0);
}

function question(action, words, { matched, planned, error }) {
  const [verb] = VERBS[action];
  const said = (...fate) => h("div", {}, h("p", {}, `All flagged grades ${words}.`), h("p", { role: "status" }, ...fate));
  if (matched === 0) return { title: `Nothing to ${action}`, text: said("No flagged grade passes this filter now.") };
  const isKnown = matched !== undefined;
  const grades = isKnown ? count(matched, "grade") : "All of them";
  const isDiscard = action === "discard";
  const haste = isDiscard ? "; they cannot be given up before that." : "; you need not wait for it.";
  const counting = isKnown ? null : error ? ` How many they are could not be counted: ${error}.` : ` They are being counted${haste}`;
  const fate = isDiscard ? [`${grades} will be given up and stay unsent. This cannot be undone.`, counting] : fateOf(grades, planned, error, counting);
  const title = isKnown ? `${verb} ${count(matched, "flagged grade")}?` : `${verb} all flagged grades that match?`;
  // What cannot be undone is not done before one knows to how many.
  return { title, text: said(...fate), verb: isKnown ? `${verb} ${number(matched)}` : isDiscard ? null : `${verb} all` };
}

function fateOf(grades, planned, error, counting) {
  const how = "with a fresh set of attempts, no faster than the platforms take them";
  if (!planned) return [`${grades} will be tried again, ${how}; but superseded instead where a newer grade of the same cell is there.`,
    counting ?? (error ? ` How many have a newer one could not be counted: ${error}.` : " How many have a newer one is being counted; you need not wait for it.")];
  const older = planned.superseded ? ` ${count(planned.superseded, planned.replayed ? "other" : "grade")} will be superseded, because a newer grade of the same cell is there.` : " None has a newer grade in the same cell.";
  return planned.replayed ? [`${count(planned.replayed, "grade")} will be tried again, ${how}.${older}`] : [older.trim()];
}

/** In the worker's background, where it survives this page and a restart, and is told of under "Bulk changes". */
async function runAll(action, filter, note, show, goesOn) {
  const [, doing, done] = VERBS[action];
  show({ title: `${doing} …`, more: h("p", {}, h("progress", { "aria-label": "under way" }), " under way") });
  let task = await call("POST", `/api/v1/${action}`, { filter, note, background: true });
  const own = () => h("p", {}, h("a", { href: `#/bulk/${task.id}` }, "To its own page"));
  const underWay = (now, silence) => show({ title: `${doing} …`,
    more: [h("p", {}, progress(now)), h("p", { class: "quiet" }, "It goes on in the worker, also without this page and over a restart. ", became(now)), unheard(silence), own()] });
  try {
    task = await follow(task, ({ state }) => state !== "running", UNDER_WAY_MS, underWay, goesOn);
  } catch (error) {
    // The worker has it on disk: whatever is wrong with the asking, the change goes on.
    return void show({ title: `${doing} …`, told: h("p", { class: "wrong" }, `It goes on in the worker; how far it is cannot be seen from here: ${error.message}.`), more: own() });
  }
  if (task.state === "running") return undefined;
  if (task.error) return void show({ title: "It was given up", told: h("p", { class: "wrong" }, `${task.error}. Until then: ${became(task) || "nothing was changed"}.`), more: own() });
  const titleOf = ({ matched, replayed, now }) => (replayed && (now?.queued ?? 1) ? `${count(replayed, "grade")} queued again` : `${done} ${count(matched, "grade")}`);
  const say = (now, silence) => show({ title: titleOf(now), ...outcome(now), more: [sinceThen(now), unheard(silence), skippedOf(now), own()] });
  say(task);
  return () => follow(task, ({ now }) => !now?.queued, QUEUED_MS, say, goesOn).catch((error) => say(task, error.message));
}

const unheard = (silence) => (silence ? h("p", { class: "wrong" }, `${silence}: asked again.`) : null);
const skippedOf = ({ skipped }) => (skipped ? h("p", {}, "Left as they were: those that were not flagged any more when their turn came.") : null);

/** What was done. Of what is queued again that is not the end: it is told of as it goes on, and read out when it is over. */
function outcome(task) {
  const words = became(task) || "nothing was to be changed";
  if (!task.replayed) return { told: h("p", { class: "done" }, `Done: ${words}.`) };
  if (task.now?.queued) return { told: h("p", {}, `${words}: watch here what becomes of them, or close this; they go on in the worker.`) };
  return { told: [h("p", {}, `${words}${task.now ? "." : "; watch what becomes of them on its own page."}`), nowOf(task)] };
}

const sinceThen = (task) => (task.replayed && task.now?.queued ? nowOf(task) : null);

/** Asks for a bulk change until it is over, or nobody looks. A worker that restarts is asked again for a while. */
async function follow(task, isOver, most, shown, goesOn) {
  let now = task;
  let heardAt = Date.now();
  for (let wait = SOON_MS; !isOver(now) && goesOn(); wait = Math.min(most, wait * 2)) {
    await sleep(wait);
    let silence = null;
    try {
      now = await get(`/api/v1/replays/${encodeURIComponent(task.id)}`);
      heardAt = Date.now();
    } catch (error) {
      if (!PASSING.includes(error.status) || Date.now() - heardAt > PATIENCE_MS) throw error;
      silence = error.message;
    }
    if (goesOn()) shown(now, silence);
  }
  return now;
}

/** What a worker that restarts, or a proxy before it, answers. */
const PASSING = [0, 502, 503, 504];
const PATIENCE_MS = 300_000;

/** Stops a platform's deliveries, or lets them go on. */
export function changePlatform(name, action, tools) {
  const stops = action === "pause";
  ask({
    title: stops ? `Pause ${name}?` : `Let ${name} go on?`,
    text: h("p", {}, stops ? "Its grades wait, without using up attempts, until somebody lets it go on. What is under way ends."
      : "Its grades are sent again at once. Where it was held, the hold is over."),
    verb: stops ? "Pause" : "Resume", note: tools.keepsNotes,
    look: [h("a", { href: `#/platforms?name=${encodeURIComponent(name)}` }, "the platform"), auditLog(tools)],
    run: async (show, note) => {
      const view = await post(`/api/v1/platforms/${encodeURIComponent(name)}/${action}`, note ? { note } : undefined);
      show({ title: `${name} is ${view.state}`, told: h("p", { class: "done" }, `${name} is ${view.state} now.`) });
    },
  }, tools);
}

/** A grade, read back from its platform. */
export const verify = (id) => post(`/api/v1/jobs/${id}/verify`, undefined, VERIFY_WITHIN_MS);

/** The worker gives a look a minute. */
const VERIFY_WITHIN_MS = 75_000;
