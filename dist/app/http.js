// One HTTP request to the API, with a timeout; every failure is an ApiError.

const REQUEST_TIMEOUT_MS = 15_000;
/** An upload may take any time while it makes progress. */
const STALL_TIMEOUT_MS = 30_000;

/** A response that is not 2xx, or no response (status 0). `message` can be shown to the user. */
export class ApiError extends Error {
  /** @param {Partial<import("./types.js").Problem> & {message: string}} problem */
  constructor({ status = 0, code = "UNKNOWN", message, details = {} }) {
    super(message);
    this.name = "ApiError";
    this.status = status;
    this.code = code;
    this.details = details;
  }

  /** Whether the same request may succeed later. */
  get transient() {
    return this.status === 0 || this.status === 429 || (this.status >= 502 && this.status <= 504);
  }
}

/**
 * @typedef {object} Call
 * @property {unknown} [json] sent as a JSON body
 * @property {FormData} [form] sent as multipart
 * @property {Record<string, string>} [headers]
 * @property {(part: number) => void} [onProgress] of a form: the sent fraction, 0 to 1. Only stalls time out
 * @property {AbortSignal} [signal] with `onProgress`: aborts the upload
 *
 * @typedef {object} ApiResponse
 * @property {any} data the parsed body, null without one
 * @property {Pick<Headers, "get">} headers
 *
 * @typedef {{status: number, headers: Pick<Headers, "get">, text: string}} RawResponse
 */

/**
 * @param {string} method
 * @param {string} path below /api
 * @param {Call} [call]
 * @returns {Promise<ApiResponse>}
 * @throws {ApiError}
 */
export async function request(method, path, call = {}) {
  const { status, headers, text } = await (call.onProgress ? sendUpload : sendRequest)(method, `/api${path}`, call);
  const data = parse(text);
  if (status >= 200 && status < 300) return { data, headers };
  throw new ApiError({
    status,
    code: data?.code,
    message: messageOf(data) ?? `The server answered with status ${status}.`,
    details: data?.details ?? {},
  });
}

/** @param {string} method @param {string} url @param {Call} call @returns {Promise<RawResponse>} */
async function sendRequest(method, url, { json, form, headers = {} }) {
  try {
    const response = await fetch(url, {
      method,
      headers: json === undefined ? headers : { ...headers, "Content-Type": "application/json" },
      body: json === undefined ? form : JSON.stringify(json),
      credentials: "same-origin",
      cache: "no-store",
      signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS),
    });
    return { status: response.status, headers: response.headers, text: await response.text() };
  } catch (error) {
    throw error instanceof DOMException && error.name === "TimeoutError" ? timedOut() : unreachable();
  }
}

/**
 * Uses XMLHttpRequest, because fetch reports no upload progress.
 *
 * @param {string} method @param {string} url @param {Call} call
 * @returns {Promise<RawResponse>}
 */
function sendUpload(method, url, { form, headers = {}, onProgress, signal }) {
  return new Promise((resolve, reject) => {
    const xhr = new XMLHttpRequest();
    /** @type {ReturnType<typeof setTimeout>} */
    let timer;
    const restartTimer = () => {
      clearTimeout(timer);
      timer = setTimeout(() => (reject(timedOut()), xhr.abort()), STALL_TIMEOUT_MS);
    };
    const responseHeaders = { get: (/** @type {string} */ name) => xhr.getResponseHeader(name) };
    xhr.upload.onprogress = ({ loaded, total }) => (restartTimer(), onProgress?.(loaded / total));
    xhr.onload = () => resolve({ status: xhr.status, headers: responseHeaders, text: xhr.responseText });
    xhr.onerror = () => reject(unreachable());
    xhr.onabort = () => reject(new ApiError({ code: "CANCELLED", message: "It was cancelled." }));
    xhr.onloadend = () => clearTimeout(timer);
    xhr.open(method, url);
    if (signal?.aborted) return xhr.onabort?.(/** @type {any} */ (null));
    signal?.addEventListener("abort", () => xhr.abort());
    for (const [name, value] of Object.entries(headers)) xhr.setRequestHeader(name, value);
    restartTimer();
    xhr.send(form);
  });
}

const timedOut = () => new ApiError({ code: "TIMEOUT", message: "The server took too long to answer." });
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
function messageOf(problem) {
  return typeof problem?.message === "string" && problem.message ? problem.message : undefined;
}
