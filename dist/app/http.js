// One HTTP call to the API: address, time limit, and errors as one kind of value.

const TIME_LIMIT_MS = 15_000;
/** An upload may take as long as it moves. */
const STALLED_MS = 30_000;

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
 * @property {(part: number) => void} [onProgress] of a form: how much has been sent, 0 to 1. Then there is no time limit
 * @property {AbortSignal} [signal] with `onProgress`: ends it
 *
 * @typedef {object} Answer
 * @property {any} data the parsed body, null when there is none
 * @property {Pick<Headers, "get">} headers
 *
 * @typedef {{status: number, headers: Pick<Headers, "get">, text: string}} Raw
 */

/**
 * @param {string} method
 * @param {string} path below /api
 * @param {Call} [call]
 * @returns {Promise<Answer>}
 * @throws {ApiError}
 */
export async function request(method, path, call = {}) {
  const { status, headers, text } = await (call.onProgress ? send : ask)(method, `/api${path}`, call);
  const data = parse(text);
  if (status >= 200 && status < 300) return { data, headers };
  throw new ApiError({
    status,
    code: data?.code,
    message: sentence(data) ?? `The server answered with status ${status}.`,
    details: data?.details ?? {},
  });
}

/** @param {string} method @param {string} url @param {Call} call @returns {Promise<Raw>} */
async function ask(method, url, { json, form, headers = {} }) {
  try {
    const response = await fetch(url, {
      method,
      headers: json === undefined ? headers : { ...headers, "Content-Type": "application/json" },
      body: json === undefined ? form : JSON.stringify(json),
      credentials: "same-origin",
      cache: "no-store",
      signal: AbortSignal.timeout(TIME_LIMIT_MS),
    });
    return { status: response.status, headers: response.headers, text: await response.text() };
  } catch (error) {
    throw error instanceof DOMException && error.name === "TimeoutError" ? late() : unreachable();
  }
}

/**
 * By XMLHttpRequest, which alone tells how far it is.
 *
 * @param {string} method @param {string} url @param {Call} call
 * @returns {Promise<Raw>}
 */
function send(method, url, { form, headers = {}, onProgress, signal }) {
  return new Promise((resolve, reject) => {
    const xhr = new XMLHttpRequest();
    /** @type {ReturnType<typeof setTimeout>} */
    let timer;
    const moves = () => {
      clearTimeout(timer);
      timer = setTimeout(() => (reject(late()), xhr.abort()), STALLED_MS);
    };
    const answer = { get: (/** @type {string} */ name) => xhr.getResponseHeader(name) };
    xhr.upload.onprogress = ({ loaded, total }) => (moves(), onProgress?.(loaded / total));
    xhr.onload = () => resolve({ status: xhr.status, headers: answer, text: xhr.responseText });
    xhr.onerror = () => reject(unreachable());
    xhr.onabort = () => reject(new ApiError({ code: "CANCELLED", message: "It was cancelled." }));
    xhr.onloadend = () => clearTimeout(timer);
    xhr.open(method, url);
    if (signal?.aborted) return xhr.onabort?.(/** @type {any} */ (null));
    signal?.addEventListener("abort", () => xhr.abort());
    for (const [name, value] of Object.entries(headers)) xhr.setRequestHeader(name, value);
    moves();
    xhr.send(form);
  });
}

const late = () => new ApiError({ code: "TIMEOUT", message: "The server took too long to answer." });
const unreachable = () => new ApiError({ code: "NETWORK", message: "The server cannot be reached." });

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
