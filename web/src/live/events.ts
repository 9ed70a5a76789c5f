// The event stream, GET /api/sse.
//
// The `eventsource` package is maintained, sends the Last-Event-ID header, and accepts a fetch function, unlike
// event-source-polyfill. So each reconnect has a current token, where the polyfill keeps the first one; a transient 502
// is retried, where a native EventSource would give up; and a stream without keep-alives is detected.

import { EventSource } from "eventsource";
import type { EventSourceFetchInit } from "eventsource";
import { backoff, pauseOrOnline } from "../backoff";

/** The server writes at least every 15 s; 45 s without a byte means a dead connection. */
const SILENCE_TIMEOUT_MS = 45_000;

export interface Options {
  /** Gets a token other than `rejected`. */
  token: (rejected: string | null) => Promise<string>;
  onEvent: (name: string, data: any) => void;
}

let stream: EventSource | null = null;
let open: (() => void) | null = null;
let options: Options;
let failures = 0;
let bearer: string | null = null;
/** The server does not accept this token. */
let rejected: string | null = null;

/** @param cursor the position in the stream at which the lists were read */
export function listen(cursor: string | null, names: string[], given: Options) {
  stop();
  options = given;
  let position: string | null = cursor;

  open = () => {
    const query = position ? `?lastEventId=${encodeURIComponent(position)}` : "";
    const source = new EventSource(`${location.origin}/api/sse${query}`, { fetch: connect });
    stream = source;
    for (const name of names) {
      source.addEventListener(name, (event) => {
        position = event.lastEventId || position;
        options.onEvent(name, JSON.parse(event.data));
      });
    }
    source.addEventListener("error", () => void reopen(source));
  };

  /** A rejection closes an EventSource permanently: opens a new one with a new token. */
  const reopen = async (old: EventSource) => {
    if (old.readyState !== EventSource.CLOSED || stream !== old) return;
    rejected = bearer;
    await pauseOrOnline(backoff(failures++));
    if (stream === old) open?.();
  };

  failures = 0;
  open();
}

export function stop() {
  pause();
  open = null;
}

/** Closes the stream until reconnect(), which goes on at the same position. */
export function pause() {
  stream?.close();
  stream = null;
}

/** Replaces a stream that is probably dead. */
export function reconnect() {
  pause();
  failures = 0;
  open?.();
}

async function connect(url: string | URL, init: EventSourceFetchInit) {
  if (failures > 0) await pauseOrOnline(backoff(failures - 1));
  const silence = new AbortController();
  // Not an AbortError, which EventSource takes for a call of close().
  const watch = watchdog(() => silence.abort(new TypeError("silent")));
  try {
    bearer = await options.token(rejected);
    const response = await fetch(url, {
      ...init,
      headers: { ...init.headers, Authorization: `Bearer ${bearer}` },
      signal: AbortSignal.any([init.signal as AbortSignal, silence.signal]),
    });
    if (response.status === 429 || response.status >= 500) throw new TypeError(`status ${response.status}`);
    failures = 0;
    if (response.ok) rejected = null;
    return { ...responseFields(response), body: response.body?.pipeThrough(watch.stream()) ?? null };
  } catch (error) {
    watch.end();
    failures++;
    throw error;
  }
}

function responseFields({ url, status, redirected, headers }: Response) {
  return { url, status, redirected, headers };
}

function watchdog(onSilence: () => void) {
  let timer = setTimeout(onSilence, SILENCE_TIMEOUT_MS);
  const end = () => clearTimeout(timer);
  const stream = (): ReadableWritablePair<any, Uint8Array<ArrayBuffer>> =>
    new TransformStream({
      transform(chunk, controller) {
        end();
        timer = setTimeout(onSilence, SILENCE_TIMEOUT_MS);
        controller.enqueue(chunk);
      },
      flush: end,
    });
  return { stream, end };
}
