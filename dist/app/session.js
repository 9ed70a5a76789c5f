// Who is signed in, and the access token that proves it.
//
// The token lives in this module's memory only. What survives a reload is the server's HttpOnly cookie, from which
// GET /auth/me makes a new token at any time without changing the cookie. POST /auth/refresh does change it, and
// using an already changed one revokes the session, so it happens only once a day, to keep the session from ending,
// and never in two tabs at once.

import { ApiError, request } from "./http.js";
import { backoff, pauseOrOnline } from "./backoff.js";
import { batch, signal } from "./ui.js";

const ROTATE_AFTER_MS = 24 * 60 * 60 * 1000;
const ROTATED_AT = "discodeit.rotated-at";
const LOCK = "discodeit.session";

/** @typedef {"starting" | "unreachable" | "signed-out" | "signed-in"} Phase */

export const phase = signal(/** @type {Phase} */ ("starting"));
export const me = signal(/** @type {import("./types.js").User | null} */ (null));
/** Why the sign-in form is shown, when it was not asked for. */
export const notice = signal(/** @type {string | null} */ (null));

/** @type {{value: string, diesAt: number} | null} */
let access = null;
/** @type {Promise<string> | null} */
let renewal = null;
/** @type {ReturnType<typeof setTimeout> | undefined} */
let renewTimer;

const tabs = new BroadcastChannel("discodeit.session");
tabs.onmessage = ({ data }) => {
  if (data.type === "signed-out" && phase.peek() === "signed-in") forget(null);
  if (data.type === "signed-in" && phase.peek() === "signed-out") void start();
  // The cookie now belongs to somebody else: nothing on this page is theirs.
  if (data.type === "signed-in" && me.peek() && me.peek()?.id !== data.userId) location.reload();
};

/** Picks up the session the cookie stands for, if there is one; keeps trying while the server cannot be reached. */
export async function start() {
  for (let attempt = 0; ; attempt++) {
    try {
      await request("GET", "/auth/csrf-token");
      adopt((await underLock("shared", () => request("GET", "/auth/me"))).data);
      // Somebody who only ever looks in for a moment must not lose the session either.
      if (rotationDue()) await renew().catch(() => {});
      return;
    } catch (error) {
      if (!(error instanceof ApiError && error.transient)) return forget(null);
      phase.value = "unreachable";
      await pauseOrOnline(backoff(attempt));
    }
  }
}

/** @param {string} username @param {string} password */
export async function signIn(username, password) {
  const { data } = await request("POST", "/auth/login", { json: { username, password }, headers: await csrf() });
  localStorage.setItem(ROTATED_AT, String(Date.now()));
  adopt(data);
  tabs.postMessage({ type: "signed-in", userId: me.peek()?.id });
}

/** @param {{username: string, email: string, password: string}} account @param {File | null} picture */
export async function signUp(account, picture) {
  const form = new FormData();
  form.append("userCreateRequest", new Blob([JSON.stringify(account)], { type: "application/json" }));
  if (picture) form.append("profile", picture);
  await request("POST", "/users", { form, headers: await csrf() });
  await signIn(account.username, account.password);
}

export async function signOut() {
  await request("POST", "/auth/logout", { headers: await csrf() });
  tabs.postMessage({ type: "signed-out" });
  forget(null);
}

/** @returns {Promise<string>} a token that is good for at least some seconds */
export async function token() {
  return access && Date.now() < access.diesAt - 10_000 ? access.value : renew();
}

/**
 * Gets a new token from the cookie; calls made meanwhile share the one request.
 *
 * @returns {Promise<string>}
 */
export function renew() {
  renewal ??= newToken()
    .catch((error) => {
      if (error instanceof ApiError && error.status === 401 && phase.peek() === "signed-in") {
        forget("Your session has ended. Please sign in again.");
      }
      throw error;
    })
    .finally(() => (renewal = null));
  return renewal;
}

/**
 * A call in the name of the signed-in user. A token that was refused is replaced once.
 *
 * @param {string} method
 * @param {string} path
 * @param {import("./http.js").Call} [call]
 */
export async function authorized(method, path, call = {}) {
  /** @param {string} bearer */
  const attempt = (bearer) =>
    request(method, path, { ...call, headers: { ...call.headers, Authorization: `Bearer ${bearer}` } });
  const used = await token();
  try {
    return await attempt(used);
  } catch (error) {
    if (!(error instanceof ApiError && error.status === 401)) throw error;
    return attempt(access && access.value !== used ? access.value : await renew());
  }
}

async function newToken() {
  const rotated = rotationDue() ? await underLock("exclusive", rotate) : null;
  const bearer = rotated ?? (await underLock("shared", () => request("GET", "/auth/me"))).data;
  adopt(bearer);
  return /** @type {string} */ (bearer);
}

function rotationDue() {
  return Date.now() - Number(localStorage.getItem(ROTATED_AT) ?? 0) > ROTATE_AFTER_MS;
}

/** @returns {Promise<string | null>} null when another tab did it while this one waited for the lock */
async function rotate() {
  if (!rotationDue()) return null;
  // Noted before the answer: should it be lost, trying again with the same cookie is what must not happen.
  localStorage.setItem(ROTATED_AT, String(Date.now()));
  return (await request("POST", "/auth/refresh", { headers: await csrf() })).data;
}

/**
 * Between tabs: reading the session is shared, changing its cookie is exclusive. Browsers offer locks to secure
 * origins only; without them a rotation once a day is rare enough.
 *
 * @template T
 * @param {"shared" | "exclusive"} mode
 * @param {() => Promise<T>} work
 * @returns {Promise<T>}
 */
async function underLock(mode, work) {
  return navigator.locks ? await navigator.locks.request(LOCK, { mode }, work) : await work();
}

async function csrf() {
  if (!readCookie("XSRF-TOKEN")) await request("GET", "/auth/csrf-token");
  return { "X-XSRF-TOKEN": readCookie("XSRF-TOKEN") ?? "" };
}

/** @param {string} name */
function readCookie(name) {
  const pair = document.cookie.split("; ").find((each) => each.startsWith(`${name}=`));
  return pair && decodeURIComponent(pair.slice(name.length + 1));
}

/** @param {string} bearer */
function adopt(bearer) {
  const claims = readClaims(bearer);
  if (me.peek() && me.peek()?.id !== claims.userDto.id) return location.reload();
  // Lifetimes are measured from now: the server's clock and ours need not agree.
  const lifetime = (claims.exp - claims.iat) * 1000;
  access = { value: bearer, diesAt: Date.now() + lifetime };
  clearTimeout(renewTimer);
  renewTimer = setTimeout(() => void renew().catch(() => {}), lifetime * 0.8);
  batch(() => {
    me.value = claims.userDto;
    notice.value = null;
    phase.value = "signed-in";
  });
}

/** @param {string | null} reason shown above the sign-in form */
function forget(reason) {
  clearTimeout(renewTimer);
  access = null;
  batch(() => {
    notice.value = reason;
    me.value = null;
    phase.value = "signed-out";
  });
}

/** @param {string} jwt @returns {{iat: number, exp: number, userDto: import("./types.js").User}} */
function readClaims(jwt) {
  const base64 = jwt.split(".")[1].replace(/-/g, "+").replace(/_/g, "/");
  const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  return JSON.parse(new TextDecoder().decode(bytes));
}
