// Replays, discards, pauses: a count first, a word of confirmation, then what became of each.

import { call, get, post } from "./api.js";
import { became, progress } from "./bulk.js";
import { fill, h, say } from "./dom.js";
import { count, number } from "./words.js";

const AT_ONCE = 4;
const SHOWN_MAX = 500;

/** Opens a dialog. What had the focus gets it back. */
function open(title, body, buttons, onclose) {
  const before = document.activeElement;
  const heading = h("h2", { id: "dialog-title", tabindex: "-1" }, title);
  const dialog = h("dialog", { "aria-labelledby": "dialog-title" }, heading, body, h("div", { class: "buttons" }, buttons));
  dialog.onclose = () => {
    dialog.remove();
    // What was done may have taken it off the page.
    const next = document.contains(before) ? before : document.querySelector("main h1");
    if (next?.matches("h1")) next.tabIndex = -1;
    next?.focus();
    onclose?.("done" in dialog.dataset);
  };
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

/** Asks, and does it if the answer is yes. `run` gets a way to show how far it is and gives back what was done; `after` is
    told whether it was. */
export function ask({ title, text, verb, grave = false, note = false, run }, after) {
  const field = h("input", { id: "note", type: "text", maxlength: "500", autocomplete: "off" });
  const said = h("div", { class: "said", role: "status" });
  const no = h("button", { type: "button", onclick: () => dialog.close() }, "Cancel");
  const yes = h("button", { type: "button", class: grave ? "grave" : "main" }, verb);
  const why = note ? h("p", {}, h("label", { for: "note" }, "Why? (optional, kept in the audit log)"), field) : null;
  const dialog = open(title, h("div", {}, text, why, said), [no, yes], after);
  // Who begins to type gives a reason; nobody gives grades up by pressing Enter once too often.
  field.onkeydown = (event) => { if (event.key === "Enter" && !grave) yes.click(); };
  (note ? field : grave ? no : yes).focus();
  yes.onclick = async () => {
    yes.disabled = true;
    dialog.dataset.done = "";
    const show = (...nodes) => fill(said, ...nodes);
    try {
      const done = await run(show, field.value.trim() || undefined, () => dialog.open);
      show(done);
      say(said.textContent);
    } catch (error) {
      show(h("p", { class: "wrong" }, `It was not done: ${error.message}.`));
    }
    why?.remove();
    yes.remove();
    no.textContent = "Close";
    no.focus();
  };
}

/** One after the other, a few at a time; `[id, what became of it, whether it failed]` of each. */
async function each(ids, action, note, show, goesOn) {
  const results = [];
  const waiting = [...ids];
  const worker = async () => {
    while (waiting.length && goesOn()) {
      const id = waiting.shift();
      try {
        const job = await post(`/api/v1/jobs/${id}/${action}`, note ? { note } : undefined);
        results.push([id, outcome(job.state), false]);
      } catch (error) {
        results.push([id, error.message, true]);
      }
      show(h("progress", { max: ids.length, value: results.length, "aria-label": "jobs done" }), ` ${results.length} of ${ids.length}`);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  return results;
}

const outcome = (state) =>
  ({ queued: "queued again", superseded: "superseded: a newer grade of the same cell is there" })[state] ?? state;

function resultsOf(results) {
  const failed = results.filter(([, , wrong]) => wrong).length;
  const row = ([id, text, wrong]) =>
    h("tr", {}, h("td", {}, h("a", { href: `#/jobs/${id}`, class: "id" }, id)), h("td", { class: wrong ? "wrong" : "" }, text));
  return h("div", {},
    h("p", {}, failed ? `${count(results.length - failed, "job")} done, ${number(failed)} refused.` : `${count(results.length, "job")} done.`),
    h("div", { class: "scrolls", tabindex: "0", role: "region", "aria-label": "What became of each" },
      h("table", {}, h("caption", { class: "unseen" }, "What became of each job"),
        h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Job"), h("th", { scope: "col" }, "Now"))),
        h("tbody", {}, results.slice(0, SHOWN_MAX).map(row)))));
}

const VERBS = { replay: ["Replay", "tried again"], discard: ["Discard", "given up"] };

/** Replays or discards the jobs of a list of ids. */
export function changeSome(action, ids, tools) {
  const [verb, becomes] = VERBS[action];
  ask({
    title: `${verb} ${count(ids.length, "job")}?`,
    text: h("p", {}, `${ids.length === 1 ? "It is" : "They are"} ${becomes}${action === "discard" ? ": the grade stays unsent. This cannot be undone" : ", with a fresh set of attempts"}.`),
    verb, grave: action === "discard", note: tools.keepsNotes,
    run: async (show, note, goesOn) => resultsOf(await each(ids, action, note, show, goesOn)),
  }, tools.refresh);
}

/** Replays or discards all that pass a filter: counted first. */
export async function changeAll(action, filter, words, tools) {
  const [verb, becomes] = VERBS[action];
  let planned;
  try {
    planned = await post(`/api/v1/${action}`, { filter, dry_run: true });
  } catch (error) {
    tools.trouble(`${error.message}.`);
    return;
  }
  if (!planned.matched) {
    tools.trouble("No flagged job passes this filter now.");
    return;
  }
  const older = planned.superseded ? ` ${count(planned.superseded, "other")} will be superseded, because a newer grade of the same cell is there.` : "";
  const main = action === "replay" ? planned.replayed : planned.matched;
  const fate = action === "replay" ? `${count(main, "job")} will be ${becomes}, each with a fresh set of attempts, no faster than the platforms take them.${older}`
    : `${count(main, "job")} will be ${becomes}: these grades stay unsent. This cannot be undone.`;
  ask({
    title: `${verb} ${count(planned.matched, "flagged job")}?`,
    text: h("div", {}, h("p", {}, `All flagged grades ${words}.`), h("p", {}, fate)),
    verb: `${verb} ${number(planned.matched)}`, grave: action === "discard", note: tools.keepsNotes,
    run: (show, note, goesOn) => runAll(action, filter, note, planned.matched, show, goesOn),
  }, tools.refresh);
}

/** In the worker's background, where it survives this page and a restart, and is told of under "Bulk changes". */
async function runAll(action, filter, note, planned, show, goesOn) {
  const body = note ? { filter, note } : { filter };
  show(h("progress", { "aria-label": "under way" }), " under way");
  let task = await call("POST", `/api/v1/${action}`, { ...body, background: true });
  const more = h("p", {}, h("a", { href: `#/bulk/${task.id}` }, "To its own page"));
  const said = (...nodes) => h("div", {}, ...nodes, more);
  let heardAt = Date.now();
  for (let wait = 150; task.state === "running" && goesOn(); wait = Math.min(1000, wait * 2)) {
    await new Promise((resolve) => setTimeout(resolve, wait));
    let silence = null;
    try {
      task = await get(`/api/v1/replays/${encodeURIComponent(task.id)}`);
      heardAt = Date.now();
    } catch (error) {
      // The worker has it on disk: whatever is wrong with the asking, the change goes on.
      if (!PASSING.includes(error.status) || Date.now() - heardAt > PATIENCE_MS) return said(h("p", { class: "wrong" }, `It goes on in the worker; how far it is cannot be seen from here: ${error.message}.`));
      silence = h("p", { class: "wrong" }, `${error.message}: asked again.`);
    }
    show(h("p", {}, progress({ ...task, total: task.total ?? planned })), h("p", { class: "quiet" }, "It goes on in the worker, also without this page and over a restart. ", became(task)), silence, more);
  }
  if (task.state === "running") return said(h("p", {}, "It goes on in the worker."));
  if (task.error) return said(h("p", { class: "wrong" }, `It was given up: ${task.error}. Until then: ${became(task) || "nothing was changed"}.`));
  return said(h("p", { class: "done" }, `Done: ${became(task) || "nothing was to be changed"}.`),
    task.skipped ? h("p", {}, "Left as they were: those that were not flagged any more when their turn came.") : null);
}

/** What a worker that restarts, or a proxy before it, answers: asked again for a while. */
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
    run: async (_show, note) => {
      const view = await post(`/api/v1/platforms/${encodeURIComponent(name)}/${action}`, note ? { note } : undefined);
      return h("p", { class: "done" }, `${name} is ${view.state} now.`);
    },
  }, tools.refresh);
}

/** The grade of a job, read back from its platform. */
export const verify = (id) => post(`/api/v1/jobs/${id}/verify`, undefined, VERIFY_WITHIN_MS);

/** The worker gives a look a minute. */
const VERIFY_WITHIN_MS = 75_000;
