// The frame of the page: who is signed in, where in the page we are, and keeping it up to date.
//
// The place is the part of the address after `#`: a path and the filters. A view is `load`, which asks the worker, and
// `show`, which makes elements of what it said; every five seconds both are done again, and what is there is patched.

import { call, get, getIfThere, Problem } from "./api.js";
import { leave } from "./dialog.js";
import { fill, h, patch, say } from "./dom.js";
import { brief, when } from "./words.js";
import { signIn } from "./sign-in.js";
import * as audit from "./audit.js";
import * as bulk from "./bulk.js";
import * as failures from "./failures.js";
import * as job from "./job.js";
import * as overview from "./overview.js";
import * as platforms from "./platforms.js";

const EVERY_MS = 5000;

const VIEWS = [[/^\/?$/, overview], [/^\/failures$/, failures], [/^\/jobs\/([0-9A-Za-z]+)$/, job], [/^\/platforms$/, platforms], [/^\/audit$/, audit], [/^\/bulk(?:\/([0-9A-Za-z]+))?$/, bulk]];
const MENU = [["#/", "Overview", overview], ["#/failures", "Failures", failures], ["#/platforms", "Platforms", platforms], ["#/audit", "Audit", audit]];
/** Views that stand below another one in the menu. */
const BELOW = new Map([[job, failures], [bulk, audit]]);

const top = document.getElementById("top");
const main = document.getElementById("main");
const trouble = document.getElementById("trouble");

let who = null;
let keepsNotes = false;
let flagged = null;
let turn = 0;
let timer = null;
let knownAt = null;
let shown = null;

/** Where we are: the path and the filters of the address. */
function place() {
  const [path, search = ""] = location.hash.replace(/^#/, "").split("?", 2);
  return { path: path || "/", params: new URLSearchParams(search) };
}

function viewOf(path) {
  for (const [pattern, view] of VIEWS) {
    const found = pattern.exec(path);
    if (found) return [view, found[1]];
  }
  return [null];
}

/** What a view may ask of the frame. */
const tools = {
  get mayChange() { return who?.role === "operator"; },
  get keepsNotes() { return keepsNotes; },
  refresh: () => update(),
  /** The filters as they stand in the address now: a view may be older than what was chosen last. */
  get params() { return place().params; },
  trouble: (text) => tell(text),
  /** Other filters in the same view; done when it shows them. */
  async filter(params, replace = false) {
    const text = params.toString();
    const hash = `#${place().path}${text ? `?${text}` : ""}`;
    if (hash === location.hash) return;
    history[replace ? "replaceState" : "pushState"](null, "", hash);
    await update(true);
  },
  redraw: () => shown && draw(shown.view, shown.data, shown.at),
  flagged: (number) => { flagged = number; drawTop(); },
};

function tell(text) {
  if (!text) delete trouble.dataset.lost;
  fill(trouble, text ? h("p", {}, h("span", {}, text), h("button", { type: "button", class: "plain", onclick: () => tell(null) }, "Dismiss")) : null);
}

function drawTop() {
  const here = viewOf(place().path)[0];
  const item = ([href, text, view]) => {
    const isHere = view === (BELOW.get(here) ?? here);
    const number = view === failures && flagged ? h("span", { class: "number" }, ` ${brief(flagged)}`) : null;
    return h("li", {}, h("a", { href, "aria-current": isHere ? "page" : null }, text, number));
  };
  const signedIn = who ? [
    h("nav", { "aria-label": "Main" }, h("ul", {}, MENU.map(item))),
    h("div", { class: "who" }, h("span", { title: `role: ${who.role}` }, who.name, who.name === who.role ? null : h("span", { class: "quiet" }, ` ${who.role}`)),
      h("button", { type: "button", class: "plain", onclick: signOut }, "Sign out")),
  ] : [];
  patch(top, h("header", { id: "top" }, h("a", { class: "brand", href: "#/" }, h("img", { src: "/assets/icon.svg", alt: "", width: "22", height: "22" }), "passback"), signedIn));
}

function draw(view, data, at) {
  const content = view.show(data, { ...at, tools });
  const fresh = h("main", { id: "main", tabindex: "-1" }, content, h("p", { class: "quiet stand" }, "As of ", when(new Date(knownAt).toISOString(), "clock"), "; updates every 5 seconds."));
  patch(main, fresh);
}

/** Asks and shows. `isNew`: the reader came here just now. */
async function update(isNew = false) {
  clearTimeout(timer);
  if (!who) return;
  const mine = ++turn;
  const { path, params } = place();
  const [view, id] = viewOf(path);
  const at = { params, id, tools };
  if (isNew) enter(view, path);
  try {
    const [data] = view ? await Promise.all([view.load(at), view.countsFlagged ? null : countFlagged()]) : [null];
    if (mine !== turn) return;
    knownAt = Date.now();
    main.removeAttribute("aria-busy");
    if (trouble.dataset.lost) tell(null);
    if (view) {
      draw(view, data, at);
      shown = { view, data, at };
    } else patch(main, h("main", { id: "main", tabindex: "-1" }, h("h1", {}, "There is nothing here"), h("p", {}, h("a", { href: "#/" }, "To the overview"))));
    if (isNew) arrive(view, data, at);
    else if (view?.isFollowed && view.tell(data, at) !== told) follow(view, data, at);
  } catch (error) {
    if (mine !== turn) return;
    if (!(error instanceof Problem)) throw error;
    if (error.status === 401) return ended("The session has ended. Sign in again and you are back here.");
    lost(error, isNew);
  } finally {
    if (mine === turn) plan();
  }
}

/** The number in the menu, where the view itself does not ask for it. */
async function countFlagged() {
  const stats = await get("/api/v1/stats").catch(() => null);
  if (stats && who) tools.flagged(stats.jobs.flagged);
}

let entered = null;
/** What was told of the view last. */
let told = null;
function enter(view, path) {
  drawTop();
  tell(null);
  say();
  shown = null;
  if (entered !== path) {
    patch(main, h("main", { id: "main", tabindex: "-1" }, h("p", { class: "quiet" }, "Loading …")));
    window.scrollTo(0, 0);
  }
  main.setAttribute("aria-busy", "true");
  document.title = `${view?.title ?? "Nothing here"} · passback`;
}

function arrive(view, data, at) {
  const { path } = place();
  if (entered !== null && entered !== path) main.querySelector("h1")?.focus({ preventScroll: true });
  entered = path;
  if (view?.tell) follow(view, data, at);
}

function follow(view, data, at) {
  told = view.tell(data, at);
  say(told);
}

function lost(error, isNew) {
  main.removeAttribute("aria-busy");
  if (isNew) return cannot(error);
  const since = knownAt ? ` Shown is what was known at ${new Date(knownAt).toLocaleTimeString()}.` : "";
  const text = error.status === 0 ? `No connection: ${error.message}.${since} Trying again.` : `${error.message}.${since}`;
  if (trouble.dataset.lost === text) return;
  tell(text);
  trouble.dataset.lost = text;
}

const CANNOT = { 0: "No connection", 400: "This filter cannot be used", 403: "You may not see this", 404: "It is not there" };

/** In the place of a view that could not be had. */
function cannot(error) {
  const { path, params } = place();
  const ways = [params.size ? h("a", { href: `#${path}` }, "Without the filters") : null, h("a", { href: "#/" }, "To the overview")];
  const more = error.status === 0 ? " It is tried again every 5 seconds." : "";
  patch(main, h("main", { id: "main", tabindex: "-1" }, h("h1", { tabindex: "-1" }, CANNOT[error.status] ?? "It cannot be shown now"), h("p", { role: "alert" }, `${error.message[0].toUpperCase()}${error.message.slice(1)}.${more}`), h("p", { class: "buttons" }, ways)));
  entered = path;
}

function plan() {
  clearTimeout(timer);
  if (!document.hidden && who) timer = setTimeout(() => update(), EVERY_MS);
}

async function signOut() {
  try {
    await call("DELETE", "/session");
  } catch (error) {
    return tell(`${error.isUnsure ? "It is not known whether you are signed out" : "Not signed out"}: ${error.message}.`);
  }
  ended("You have signed out.");
}

/** Nobody is signed in (any more). The address stays, and leads on after the next sign-in. */
function ended(why = null) {
  who = null;
  flagged = null;
  entered = null;
  shown = null;
  tell(null);
  turn += 1;
  clearTimeout(timer);
  leave();
  document.title = "Sign in · passback";
  drawTop();
  main.removeAttribute("aria-busy");
  main.replaceChildren(signIn(begin, why));
  if (why) say(why);
  main.querySelector("input").focus();
}

async function begin(signedIn) {
  who = signedIn;
  entered = null;
  tell(null);
  main.replaceChildren();
  update(true).then(() => main.querySelector("h1")?.focus({ preventScroll: true }));
  // A worker that keeps an audit log keeps notes in it.
  keepsNotes = await getIfThere("/api/v1/audit?limit=1").then((found) => found !== null, () => false);
}

addEventListener("hashchange", () => {
  // A dialog that only tells what was done does not stand before the view that it leads to.
  leave("dialog[data-done]");
  update(true);
});
document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : update()));
document.querySelector(".skip").onclick = (event) => {
  event.preventDefault();
  main.focus();
};

drawTop();
try {
  await begin(await get("/session"));
} catch (error) {
  ended();
  if (error.status !== 401) tell(`${error.message}.`);
}
