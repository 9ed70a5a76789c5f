// A user, whose session Redis may lose: then the user signs in again.
import { setTimeout as sleep } from "node:timers/promises";
import { Refused, apiOf, signUp } from "../browser/api.mjs";

/** @typedef {import("./history.mjs").Outcome} Outcome */

/** Time after which a request without an answer counts as unanswered. */
const REQUEST_TIMEOUT_MS = 15_000;
/** 4xx answers that are no refusal for good: timeout, too many requests, a session that Redis has lost. */
const TEMPORARY = new Set([401, 408, 429]);

/** @template T @param {Promise<T>} promise @param {number} [ms] @returns {Promise<T>} */
export function within(promise, ms = REQUEST_TIMEOUT_MS) {
  /** @type {NodeJS.Timeout | undefined} */
  let timer;
  const timeout = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer in ${ms / 1000} s`)), ms);
  });
  return Promise.race([promise, timeout]).finally(() => clearTimeout(timer));
}

export class Person {
  /** @param {string} url of nginx, or of a proxy to it @param {string} username @param {string} password */
  static async signUp(url, username, password) {
    return new Person(url, username, password, await signUp(url, username, password));
  }

  /** @param {string} url @param {string} username @param {string} password */
  static async signIn(url, username, password) {
    return new Person(url, username, password, await apiOf(url, username, password));
  }

  /** @param {string} url @param {string} username @param {string} password @param {Awaited<ReturnType<typeof apiOf>>} api */
  constructor(url, username, password, api) {
    this.url = url;
    this.username = username;
    this.password = password;
    this.api = api;
    this.id = api.user.id;
    /** A running sign-in. @type {Promise<void> | undefined} */
    this.signingIn = undefined;
  }

  /** Signs in again, once for all who ask at the same time. */
  signInAgain() {
    this.signingIn ??= (async () => {
      try {
        this.api = await within(apiOf(this.url, this.username, this.password));
      } catch {
        await sleep(500);
      } finally {
        this.signingIn = undefined;
      }
    })();
    return this.signingIn;
  }

  /**
   * Makes a request once, and says how it ended.
   *
   * @template T
   * @param {(api: Awaited<ReturnType<typeof apiOf>>) => Promise<T>} request
   * @returns {Promise<{outcome: Outcome, value?: T, reason?: string, status?: number}>}
   */
  async attempt(request) {
    try {
      return { outcome: "accepted", value: await within(request(this.api)) };
    } catch (error) {
      const reason = String(/** @type {any} */ (error)?.message ?? error);
      if (!(error instanceof Refused)) return { outcome: "unknown", reason };
      if (error.status === 401) await this.signInAgain();
      const isFinal = error.status >= 400 && error.status < 500 && !TEMPORARY.has(error.status);
      return { outcome: isFinal ? "refused" : "unknown", reason, status: error.status };
    }
  }

  /**
   * Repeats a request that only reads, or that may take effect twice, until it is answered.
   *
   * @template T
   * @param {(api: Awaited<ReturnType<typeof apiOf>>) => Promise<T>} request
   * @param {number} [timeoutMs]
   * @returns {Promise<T>}
   */
  async insist(request, timeoutMs = 60_000) {
    const deadline = Date.now() + timeoutMs;
    for (;;) {
      const { outcome, value, reason } = await this.attempt(request);
      if (outcome === "accepted") return /** @type {T} */ (value);
      if (outcome === "refused" || Date.now() > deadline) throw new Error(reason);
      await sleep(250);
    }
  }
}
