// One HTTP call to the API: address, time limit, and errors as one kind of value.

const TIME_LIMIT_MS = 15_000;

/** An answer that is not 2xx, or no answer at all (status 0). `message` is fit to show to a person. */
export class ApiError extends Error {
  /** @param {Partial<import("./types.js").Problem> & {message: string}} problem */
  constructor({ status = 0, code = "UNKNOWN", message, details = {} }) {
    super(message);
    this.name = "ApiError";
    this.status = status;
    this.code = code;
    this.details = details;
  }

  /** Worth trying again later, unchanged. */
  get transient() {
    return this.status === 0 || this.status === 429 || (this.status >= 502 && this.status <= 504);
  }
}

/**
 * @typedef {object} Call
 * @property {unknown} [json] sent as a JSON body
 * @property {FormData} [form] sent as multipart
 * @property {Record<string, string>} [headers]
 *
 * @typedef {object} Answer
 * @property {any} data the parsed body, null when there is none
 * @property {Headers} headers
 */

/**
 * @param {string} method
 * @param {string} path below /api
 * @param {Call} [call]
 * @returns {Promise<Answer>}
 * @throws {ApiError}
 */
export async function request(method, path, { json, form, headers = {} } = {}) {
  /** @type {Response} */
  let response;
  let text;
  try {
    response = await fetch(`/api${path}`, {
      method,
      headers: json === undefined ? headers : { ...headers, "Content-Type": "application/json" },
      body: json === undefined ? form : JSON.stringify(json),
      credentials: "same-origin",
      cache: "no-store",
      signal: AbortSignal.timeout(TIME_LIMIT_MS),
    });
    text = await response.text();
  } catch (error) {
    const late = error instanceof DOMException && error.name === "TimeoutError";
    throw new ApiError({
      code: late ? "TIMEOUT" : "NETWORK",
      message: late ? "The server took too long to answer." : "The server cannot be reached.",
    });
  }
  const data = parse(text);
  if (response.ok) return { data, headers: response.headers };
  throw new ApiError({
    status: response.status,
    code: data?.code,
    message: sentence(data) ?? `The server answered with status ${response.status}.`,
    details: data?.details ?? {},
  });
}

/** @param {string} text @returns {any} */
function parse(text) {
  if (!text) return null;
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** @param {any} problem @returns {string | undefined} */
function sentence(problem) {
  return typeof problem?.message === "string" && problem.message ? problem.message : undefined;
}
