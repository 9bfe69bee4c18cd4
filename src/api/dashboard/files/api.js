// The session, and requests to the API for the chosen app.

/** @typedef {{app: string, key: string, name: string | null, admin: boolean}} AppSession */
/** @typedef {{apps: AppSession[], version: string, node: string, ends_at: string}} Session */

/** No answer takes longer: the service itself waits 15 s at most for Postgres, or for the receiver of a webhook. */
const ANSWER_MS = 30_000;

/** A refusal, as the service or the browser tells it. */
export class Problem extends Error {
  /** @param {number} status 0: no answer came @param {Partial<Api.Problem>} told */
  constructor(status, told) {
    super(told.detail ?? told.title ?? "The request failed.");
    this.status = status;
    this.code = told.code ?? "unreachable";
    this.requestId = told.request_id ?? null;
    this.errors = told.errors ?? [];
  }
}

/** @type {Session | null} */
let session = null;

/** The session, which a page may rely on: without one the login is shown. */
export function current() {
  if (session === null) throw new Problem(401, { code: "unauthenticated", detail: "Log in first." });
  const chosen = sessionStorage.getItem("app");
  return { session, app: session.apps.find(({ app }) => app === chosen) ?? session.apps[0] };
}

/** @param {string} app */
export function choose(app) {
  sessionStorage.setItem("app", app);
}

/** Whether there is a session. */
export async function restore() {
  session = await request("GET", "/dashboard/session").catch((problem) => {
    if (problem.status === 401) return null;
    throw problem;
  });
  return session !== null;
}

/** @param {string} key */
export async function logIn(key) {
  const before = session?.apps.map(({ app }) => app) ?? [];
  session = /** @type {Session} */ (await request("POST", "/dashboard/session", { key }));
  const added = session.apps.find(({ app }) => !before.includes(app));
  if (added) choose(added.app);
}

export async function logOut() {
  await request("DELETE", "/dashboard/session");
  session = null;
}

/** @param {string} path below `/v1` @returns {Promise<any>} */
export function get(path) {
  return request("GET", `/dashboard/api/${path}`);
}

/** @param {"POST" | "DELETE"} method @param {string} path @param {object} [body] @returns {Promise<any>} */
export function change(method, path, body) {
  return request(method, `/dashboard/api/${path}`, body);
}

/** @param {string} method @param {string} url @param {object} [body] */
async function request(method, url, body) {
  /** @type {Record<string, string>} */
  const headers = { Accept: "application/json" };
  if (session !== null && session.apps.length > 0) headers["X-Pushpost-App"] = current().app.app;
  if (method !== "GET") headers["X-Pushpost-Dashboard"] = "1";
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const signal = AbortSignal.timeout(ANSWER_MS);
  const init = { method, headers, signal, body: body === undefined ? null : JSON.stringify(body) };
  const answer = await fetch(url, init).catch(() => {
    throw new Problem(0, { detail: "The service did not answer. Is the node running, and the network up?" });
  });
  const text = await answer.text();
  if (!answer.ok) throw new Problem(answer.status, parsed(text) ?? { title: `The service answered ${answer.status}.` });
  return parsed(text);
}

/** @param {string} text */
function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** A query out of the members that have a value. @param {Record<string, string | string[] | null | undefined>} members */
export function query(members) {
  const made = new URLSearchParams();
  for (const [name, value] of Object.entries(members)) {
    for (const one of [value ?? []].flat()) if (one !== "") made.append(name, one);
  }
  return made.size > 0 ? `?${made}` : "";
}
