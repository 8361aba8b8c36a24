// Signing in with a token. It is sent once and kept nowhere: the worker gives a session in its place.

import { call } from "./api.js";
import { h } from "./dom.js";

/** The form; `after` gets who has signed in. `why`: what ended the session before. */
export function signIn(after, why) {
  const token = h("input", { id: "token", type: "password", autocomplete: "current-password", required: true, spellcheck: "false", "aria-describedby": "token-help" });
  const wrong = h("p", { class: "wrong", role: "alert" });
  const button = h("button", { type: "submit", class: "main" }, "Sign in");
  const submit = async (event) => {
    event.preventDefault();
    button.disabled = true;
    wrong.textContent = "";
    try {
      const who = await call("POST", "/session", { token: token.value.trim() });
      token.value = "";
      after(who);
    } catch (error) {
      wrong.textContent = `Not signed in: ${error.message}.`;
      token.focus();
      token.select();
    }
    button.disabled = false;
  };
  const form = h("form", { class: "card sign-in", onsubmit: submit },
    h("h1", { tabindex: "-1" }, "Sign in"),
    why ? h("p", { class: "told" }, why) : null,
    h("label", { for: "token" }, "Token"), token,
    h("p", { id: "token-help", class: "quiet" },
      "A viewer's or an operator's token of the worker. Where none is configured, the worker has made one in the file ",
      h("code", {}, "operator.token"), " in the folder of its store."),
    wrong, button);
  return form;
}
