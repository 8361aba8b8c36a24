// The worker's API, called with the cookie of the session.

/** What the worker, or the way to it, says against a call. Status 0: it could not be reached. `isUnsure`: whether the change
    that was asked for was made, nobody said. */
export class Problem extends Error {
  constructor(status, detail, isUnsure = false) {
    super(detail);
    this.status = status;
    this.isUnsure = isUnsure;
  }
}

const WITHIN_MS = 40_000;

/** Calls, and gives back the JSON of the answer. */
export async function call(method, path, body, withinMs = WITHIN_MS) {
  const headers = { "X-Passback": "1" };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const options = { method, headers, cache: "no-store", credentials: "same-origin", signal: AbortSignal.timeout(withinMs) };
  if (body !== undefined) options.body = JSON.stringify(body);
  const isChange = method !== "GET";
  let answer;
  let text;
  try {
    answer = await fetch(path, options);
    text = await answer.text();
  } catch (error) {
    const late = error.name === "TimeoutError";
    throw new Problem(0, late ? "the worker did not answer in time" : "the worker cannot be reached", isChange);
  }
  let json = null;
  try {
    json = text ? JSON.parse(text) : null;
  } catch { /* An answer that is not the worker's own: its status says enough. */ }
  // A proxy that has heard nothing from the worker does not know either.
  if (!answer.ok) throw new Problem(answer.status, json?.detail ?? `the answer was ${answer.status}`, isChange && answer.status >= 500 && !json?.detail);
  return json;
}

export const get = (path) => call("GET", path);
export const post = (path, body = {}, withinMs = WITHIN_MS) => call("POST", path, body, withinMs);

/** The same; null where there is no such thing, or this worker has no such call. */
export async function getIfThere(path) {
  try {
    return await get(path);
  } catch (error) {
    if (error.status !== 404 && error.status !== 405) throw error;
    return null;
  }
}

/** A query out of the members that say something. */
export function query(members) {
  const pairs = Object.entries(members).filter(([, value]) => value !== undefined && value !== null && value !== "");
  const text = new URLSearchParams(pairs).toString();
  return text ? `?${text}` : "";
}
