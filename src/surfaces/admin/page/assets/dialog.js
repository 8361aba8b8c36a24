// A dialog that asks, does it, and tells what was done. Its title says what it is about now: the question, then the result.

import { fill, h } from "./dom.js";

/** Asks, and does it if the answer is yes. `run` gets a way to show how it stands (`{ title, told, more }`: what is `told` is
    read out) and may give back a `watch`, which goes on showing what becomes of it while the dialog is open. `look` leads to
    where one sees whether it was done, where nobody said. Gives back a way to write the question anew while it is one. */
export function ask({ title, text, verb, grave = false, note = false, look, run }, tools) {
  const field = h("input", { id: "note", type: "text", maxlength: "500", autocomplete: "off" });
  const hint = grave ? h("span", { id: "note-hint", class: "quiet under" }, `Enter leads on to ${title.split(" ")[0]}; it is done when you press that.`) : null;
  if (hint) field.setAttribute("aria-describedby", "note-hint");
  const why = note ? h("p", {}, h("label", { for: "note" }, "Why? (optional, kept in the audit log)"), field, hint) : null;
  const heading = h("h2", { id: "dialog-title" }, title);
  const question = h("div", {}, text);
  const said = h("div", { class: "said", role: "status" });
  const rest = h("div", {});
  const no = h("button", { type: "button", onclick: () => dialog.close() }, "Cancel");
  const yes = h("button", { type: "button", class: grave ? "grave" : "main" }, verb);
  const dialog = h("dialog", { "aria-labelledby": "dialog-title" }, heading, question, why, said, rest, h("div", { class: "buttons" }, no, yes));
  const goesOn = () => dialog.open;
  const show = ({ title: now, told, more }) => {
    heading.textContent = now;
    fill(said, told);
    fill(rest, more);
  };
  yes.onclick = async () => {
    yes.disabled = true;
    // From here on nothing is taken back.
    no.textContent = "Close";
    dialog.dataset.done = "";
    let watch = null;
    try {
      watch = await run(show, field.value.trim() || undefined, goesOn);
    } catch (error) {
      if (!error.isUnsure) dialog.dataset.refused = "";
      const [now, told] = notDone(error, look);
      show({ title: now, told: h("p", { class: "wrong" }, told) });
      if (!goesOn()) tools.trouble(`${now}. ${error.message}.`);
    }
    question.remove();
    why?.remove();
    yes.remove();
    no.setAttribute("aria-describedby", "dialog-title");
    if (goesOn()) no.focus();
    await watch?.();
  };
  // Who begins to type gives a reason; nobody gives grades up by pressing Enter once too often, or for too long.
  field.onkeydown = (event) => {
    if (event.key !== "Enter" || yes.hidden) return;
    event.preventDefault();
    if (grave) yes.focus();
    else yes.click();
  };
  yes.onkeydown = (event) => { if (event.repeat) event.preventDefault(); };
  yes.hidden = !verb;
  open(dialog, tools);
  (note ? field : grave ? no : yes).focus();
  return (asked) => {
    if ("done" in dialog.dataset) return;
    heading.textContent = asked.title;
    fill(question, asked.text);
    // Where nothing is to be done there is nothing to press; and more may have come since.
    if (!asked.verb && document.activeElement === yes) no.focus();
    yes.hidden = !asked.verb;
    if (asked.verb) yes.textContent = asked.verb;
  };
}

/** An answer that did not come is no "no". */
function notDone(error, look) {
  const words = error.message[0].toUpperCase() + error.message.slice(1);
  if (!error.isUnsure) return ["It was not done", `${words}.`];
  return ["It is not known whether it was done", [`${words}, but it may have done it all the same. Before you do it again, look at `, look, "."]];
}

function open(dialog, tools) {
  const before = document.activeElement;
  const heading = () => document.getElementById("list") ?? document.querySelector("main h1");
  const isUsable = (node) => node.isConnected && !node.disabled && node !== document.body;
  dialog.onclose = async () => {
    dialog.remove();
    if ("left" in dialog.dataset) return;
    // What had the focus gets it back; and what was done may have taken it off the page.
    (isUsable(before) ? before : heading())?.focus();
    await tools.refresh("done" in dialog.dataset && !("refused" in dialog.dataset));
    if (!isUsable(document.activeElement) && !document.querySelector("dialog")) heading()?.focus();
  };
  document.body.append(dialog);
  dialog.showModal();
}

/** Closes what stands before a view that is left; what comes next has the focus. */
export function leave(which = "dialog") {
  for (const dialog of document.querySelectorAll(which)) {
    dialog.dataset.left = "";
    dialog.close();
  }
}
