// The signed-in user and the access token.
//
// The token is only in this module's memory. The server's HttpOnly cookie survives a reload, and GET /auth/me makes a new
// token from it without changing it. POST /auth/refresh rotates the cookie, which extends the session; the reuse of an
// old cookie revokes the session. So rotation happens only once a day, and never in two tabs at once.

import { batch, signal } from "@preact/signals";
import { ApiError, request } from "./http";
import { backoff, pauseOrOnline } from "discodeit-client";
import { allowFocus, forbidFocus } from "./focus";
import { t } from "./i18n";
import { forgetKept, keptUser } from "./kept";
import { stored } from "./storage";
import { roleName } from "./text/role";
import type { Call } from "./http";
import type { User } from "./types";

const ROTATE_AFTER_MS = 24 * 60 * 60 * 1000;
const ROTATED_AT = "discodeit.rotated-at";
const LOCK = "discodeit.session";
const OTHER_ACCOUNT =
  "Another account signed in in this browser. Sign in again, or reload the page to use that account.";

/** By the reason that the server gives; others come from a newer server. */
const REASONS = {
  SIGNED_OUT: "You signed out in another tab.",
  SIGNED_OUT_ELSEWHERE: "You were signed out from another device. Please sign in again.",
  PASSWORD_CHANGED: "Your password was changed. Please sign in with the new one.",
  ACCOUNT_DELETED: "Your account has been deleted.",
  TOO_MANY_SESSIONS: "You signed in on many other devices, so this one was signed out. Please sign in again.",
  TOKEN_REUSED: "Your session was used in two places, so it was ended for safety. Please sign in again.",
  EXPIRED: "Your session has expired. Please sign in again.",
} as const;

export type Phase = "starting" | "unreachable" | "signed-out" | "signed-in";

export const phase = signal<Phase>("starting");
export const me = signal<User | null>(null);
/** Whether the server could not be reached since the start: the app shows what this browser has kept. */
export const offline = signal(false);
/** The reason for the sign-in form when the user did not sign out, in the chosen language. */
export const notice = signal<(() => string) | null>(null);

/** Who has to sign in again; empty after a sign-out. */
export const lastUsername = signal("");

let access: { value: string; expiresAt: number } | null = null;
let renewal: Promise<string> | null = null;
let renewTimer: ReturnType<typeof setTimeout> | undefined;

const tabs = openTabs();
if (tabs) tabs.onmessage = ({ data }) => heed(data);

/** @returns null where storage is blocked: the server then ends the connections of a session that another tab ended */
function openTabs(): BroadcastChannel | null {
  try {
    return new BroadcastChannel("discodeit.session");
  } catch {
    return null;
  }
}

/** @param data from another tab */
function heed(data: { type: "signed-in" | "signed-out"; userId?: string }) {
  if (data.type === "signed-out" && phase.peek() === "signed-in") endSession(() => t(REASONS.SIGNED_OUT));
  if (data.type === "signed-in" && phase.peek() === "signed-out") {
    // The user may be typing a password here.
    forbidFocus();
    void start();
  } else if (data.type === "signed-in" && me.peek() && me.peek()?.id !== data.userId) {
    // The cookie now belongs to the other user. This page must not become theirs while the previous one types in it.
    endSession(() => t(OTHER_ACCOUNT));
  }
}

/** Restores the session from the cookie, if any. While the server is unreachable, it retries, and the user reads what was kept. */
export async function start() {
  for (let attempt = 0; ; attempt++) {
    try {
      await request("GET", "/auth/csrf-token");
      useToken((await withLock("shared", () => request("GET", "/auth/me"))).data);
      // A user who only makes short visits must not lose the session.
      if (rotationDue()) await renew().catch(() => {});
      return;
    } catch (error) {
      if (!(error instanceof ApiError && error.transient)) return endSession(notice.peek() ?? reasonOf(error, null));
      await startOffline();
      await pauseOrOnline(backoff(attempt));
    }
  }
}

async function startOffline() {
  if (phase.peek() === "signed-in") return;
  const user = await keptUser();
  batch(() => {
    me.value = user;
    offline.value = user !== null;
    phase.value = user ? "signed-in" : "unreachable";
  });
}

export async function signIn(username: string, password: string) {
  const { data } = await request("POST", "/auth/login", { json: { username, password }, headers: await csrf() });
  stored.set(ROTATED_AT, String(Date.now()));
  allowFocus();
  useToken(data);
  tabs?.postMessage({ type: "signed-in", userId: me.peek()?.id });
}

export async function signUp(account: { username: string; email: string; password: string }, picture: File | null) {
  const form = new FormData();
  form.append("userCreateRequest", new Blob([JSON.stringify(account)], { type: "application/json" }));
  if (picture) form.append("profile", picture);
  await request("POST", "/users", { form, headers: await csrf() });
  await signIn(account.username, account.password);
}

export async function signOut() {
  await request("POST", "/auth/logout", { headers: await csrf() });
  tabs?.postMessage({ type: "signed-out" });
  endSession(null);
}

/** Set while the server ends the session with the account. */
let deletingAccount = false;

/** Deletes the account of the user, and forgets all of it in this browser. */
export async function deleteAccount() {
  const id = me.peek()?.id;
  deletingAccount = true;
  try {
    await authorized("DELETE", `/users/${id}`);
  } finally {
    deletingAccount = false;
  }
  tabs?.postMessage({ type: "signed-out" });
  endSession(null);
  // After the end: nothing waits for a next sign-in.
  notice.value = () => t(REASONS.ACCOUNT_DELETED);
}

/** @returns a token that is valid for at least 10 s */
export async function token(): Promise<string> {
  return access && Date.now() < access.expiresAt - 10_000 ? access.value : renew();
}

/** @param rejected a token that the server does not accept */
export const tokenOtherThan = (rejected: string | null): Promise<string> =>
  access && access.value === rejected ? renew() : token();

/** Gets a new token from the cookie; concurrent calls share one request. */
export function renew(): Promise<string> {
  renewal ??= newToken()
    .catch((error) => {
      if (error instanceof ApiError && error.status === 401 && phase.peek() === "signed-in") {
        endSession(deletingAccount ? null : reasonOf(error, () => t("Your session has ended. Please sign in again.")));
      }
      throw error;
    })
    .finally(() => (renewal = null));
  return renewal;
}

/** A request as the signed-in user. A rejected token is replaced once. */
export async function authorized(method: string, path: string, call: Call = {}) {
  const attempt = (bearer: string) =>
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
  const rotated = rotationDue() ? await withLock("exclusive", rotate) : null;
  const bearer = rotated ?? (await withLock("shared", () => request("GET", "/auth/me"))).data;
  useToken(bearer);
  return bearer as string;
}

function rotationDue() {
  // The time may be in the future, from before somebody set the clock back.
  return Math.abs(Date.now() - Number(stored.get(ROTATED_AT) ?? 0)) > ROTATE_AFTER_MS;
}

/** @returns null when another tab rotated while this one waited for the lock, or storage is blocked */
async function rotate(): Promise<string | null> {
  if (!rotationDue()) return null;
  // Set before the response: if the response is lost, a retry with the same cookie would revoke the session.
  // Without a record, each tab would rotate at each load.
  if (!stored.set(ROTATED_AT, String(Date.now()))) return null;
  return (await request("POST", "/auth/refresh", { headers: await csrf() })).data;
}

/**
 * A lock between tabs: reads of the session are shared, rotation is exclusive. Browsers offer locks only to secure
 * origins, and refuse them where storage is blocked; without locks, one rotation a day makes a collision unlikely.
 */
async function withLock<T>(mode: "shared" | "exclusive", work: () => Promise<T>): Promise<T> {
  let held = false;
  const run = () => {
    held = true;
    return work();
  };
  if (!navigator.locks) return work();
  try {
    return await navigator.locks.request(LOCK, { mode }, run);
  } catch (error) {
    if (held) throw error;
    return work();
  }
}

async function csrf() {
  if (!readCookie("XSRF-TOKEN")) await request("GET", "/auth/csrf-token");
  return { "X-XSRF-TOKEN": readCookie("XSRF-TOKEN") ?? "" };
}

function readCookie(name: string) {
  const pair = document.cookie.split("; ").find((each) => each.startsWith(`${name}=`));
  return pair && decodeURIComponent(pair.slice(name.length + 1));
}

/** @throws {ApiError} when the token is another user's: nothing that this page sends may use it */
function useToken(bearer: string) {
  const claims = readClaims(bearer);
  if (me.peek() && me.peek()?.id !== claims.userDto.id) {
    endSession(() => t(OTHER_ACCOUNT));
    throw new ApiError({ status: 401, code: "OTHER_ACCOUNT", message: OTHER_ACCOUNT });
  }
  // Counts the lifetime from now, because the clocks of server and browser may differ.
  const lifetime = (claims.exp - claims.iat) * 1000;
  access = { value: bearer, expiresAt: Date.now() + lifetime };
  clearTimeout(renewTimer);
  renewTimer = setTimeout(() => void renew().catch(() => {}), lifetime * 0.8);
  batch(() => {
    me.value = claims.userDto;
    notice.value = null;
    offline.value = false;
    phase.value = "signed-in";
  });
}

/** @param otherwise when the server gives no reason that this app knows */
function reasonOf(error: unknown, otherwise: (() => string) | null): (() => string) | null {
  const { reason, role } = error instanceof ApiError ? error.details : {};
  if (reason === "ROLE_CHANGED")
    return () => t("Your role is now {role}. Please sign in again.", { role: roleName(role) });
  return reason in REASONS ? () => t(REASONS[reason as keyof typeof REASONS]) : otherwise;
}

/** @param reason shown above the sign-in form */
function endSession(reason: (() => string) | null) {
  clearTimeout(renewTimer);
  access = null;
  void forgetKept();
  batch(() => {
    lastUsername.value = reason === null ? "" : (me.peek()?.username ?? lastUsername.peek());
    notice.value = reason;
    me.value = null;
    offline.value = false;
    phase.value = "signed-out";
  });
}

function readClaims(jwt: string): { iat: number; exp: number; userDto: User } {
  const base64 = jwt.split(".")[1].replace(/-/g, "+").replace(/_/g, "/");
  const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  return JSON.parse(new TextDecoder().decode(bytes));
}
