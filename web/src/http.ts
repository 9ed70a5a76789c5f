// One HTTP request to the API, with a timeout; every failure is an ApiError.
import { isTransientStatus } from "discodeit-client";
import { learnTime } from "./clock";
import type { Problem } from "./types";

const REQUEST_TIMEOUT_MS = 15_000;
/** An upload may take any time while it makes progress. */
const STALL_TIMEOUT_MS = 30_000;

/** A response that is not 2xx, or no response (status 0). `message` can be shown to the user. */
export class ApiError extends Error {
  readonly status: number;
  readonly code: string;
  readonly details: Record<string, any>;

  constructor({ status = 0, code = "UNKNOWN", message, details = {} }: Partial<Problem> & { message: string }) {
    super(message);
    this.name = "ApiError";
    this.status = status;
    this.code = code;
    this.details = details;
  }

  /** Whether the same request may succeed later. */
  get transient() {
    return isTransientStatus(this.status);
  }
}

export interface Call {
  /** Sent as a JSON body. */
  json?: unknown;
  /** Sent as multipart. */
  form?: FormData;
  headers?: Record<string, string>;
  /** Of a form: the sent fraction, 0 to 1. Only stalls time out. */
  onProgress?: (part: number) => void;
  /** With `onProgress`: aborts the upload. */
  signal?: AbortSignal;
}

export interface ApiResponse {
  /** The parsed body, null without one. */
  data: any;
  headers: Pick<Headers, "get">;
}

export type RawResponse = { status: number; headers: Pick<Headers, "get">; text: string };

/**
 * @param path below /api
 * @throws {ApiError}
 */
export async function request(method: string, path: string, call: Call = {}): Promise<ApiResponse> {
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

async function sendRequest(method: string, url: string, { json, form, headers = {} }: Call): Promise<RawResponse> {
  const sentAt = Date.now();
  try {
    const response = await fetch(url, {
      method,
      headers: json === undefined ? headers : { ...headers, "Content-Type": "application/json" },
      body: json === undefined ? form : JSON.stringify(json),
      credentials: "same-origin",
      cache: "no-store",
      signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS),
    });
    learnTime(response.headers.get("Date"), sentAt);
    return { status: response.status, headers: response.headers, text: await response.text() };
  } catch (error) {
    throw error instanceof DOMException && error.name === "TimeoutError" ? timedOut() : unreachable();
  }
}

/** Uses XMLHttpRequest, because fetch reports no upload progress. */
function sendUpload(
  method: string,
  url: string,
  { form, headers = {}, onProgress, signal }: Call,
): Promise<RawResponse> {
  return new Promise((resolve, reject) => {
    const xhr = new XMLHttpRequest();
    let timer: ReturnType<typeof setTimeout>;
    const restartTimer = () => {
      clearTimeout(timer);
      timer = setTimeout(() => (reject(timedOut()), xhr.abort()), STALL_TIMEOUT_MS);
    };
    const responseHeaders = { get: (name: string) => xhr.getResponseHeader(name) };
    xhr.upload.onprogress = ({ loaded, total }) => (restartTimer(), onProgress?.(loaded / total));
    xhr.onload = () => resolve({ status: xhr.status, headers: responseHeaders, text: xhr.responseText });
    xhr.onerror = () => reject(unreachable());
    xhr.onabort = () => reject(new ApiError({ code: "CANCELLED", message: "It was cancelled." }));
    xhr.onloadend = () => clearTimeout(timer);
    xhr.open(method, url);
    if (signal?.aborted) return xhr.onabort?.(null as any);
    signal?.addEventListener("abort", () => xhr.abort());
    for (const [name, value] of Object.entries(headers)) xhr.setRequestHeader(name, value);
    restartTimer();
    xhr.send(form);
  });
}

const timedOut = () => new ApiError({ code: "TIMEOUT", message: "The server took too long to answer." });
const unreachable = () => new ApiError({ code: "NETWORK", message: "The server cannot be reached." });

function parse(text: string): any {
  if (!text) return null;
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

function messageOf(problem: any): string | undefined {
  return typeof problem?.message === "string" && problem.message ? problem.message : undefined;
}
