// The event stream, GET /api/sse.
//
// The `eventsource` package is maintained, sends the Last-Event-ID header, and accepts a fetch function, unlike
// event-source-polyfill. So each reconnect has a current token, where the polyfill keeps the first one; a transient 502
// is retried, where a native EventSource would give up; and a stream without keep-alives is detected.

import { EventSource } from "../../vendor/eventsource.js";
import { backoff, pauseOrOnline } from "../backoff.js";
import { phase, renew, token } from "../session.js";

/** The server writes at least every 15 s; 45 s without a byte means a dead connection. */
const SILENCE_TIMEOUT_MS = 45_000;

/** @type {EventSource | null} */
let stream = null;
let failures = 0;

/**
 * @param {string | null} cursor the position in the stream at which the lists were read
 * @param {Record<string, (data: any) => void>} handlers by event name
 */
export function listen(cursor, handlers) {
  stop();
  /** @type {string | null} */
  let position = cursor;

  const open = () => {
    const query = position ? `?lastEventId=${encodeURIComponent(position)}` : "";
    const source = new EventSource(`/api/sse${query}`, { fetch: connect });
    stream = source;
    for (const [name, handle] of Object.entries(handlers)) {
      source.addEventListener(name, (event) => {
        position = event.lastEventId || position;
        handle(JSON.parse(event.data));
      });
    }
    source.addEventListener("error", () => void reopen(source));
  };

  /** A rejection closes an EventSource permanently: opens a new one with a new token. @param {EventSource} old */
  const reopen = async (old) => {
    if (old.readyState !== EventSource.CLOSED || stream !== old) return;
    await pauseOrOnline(backoff(failures++));
    await renew().catch(() => {});
    if (stream === old && phase.peek() === "signed-in") open();
  };

  failures = 0;
  open();
}

export function stop() {
  stream?.close();
  stream = null;
}

/**
 * @param {string | URL} url
 * @param {import("../../vendor/eventsource.js").EventSourceFetchInit} init
 */
async function connect(url, init) {
  if (failures > 0) await pauseOrOnline(backoff(failures - 1));
  const silence = new AbortController();
  // Not an AbortError, which EventSource takes for a call of close().
  const watch = watchdog(() => silence.abort(new TypeError("silent")));
  try {
    const response = await fetch(url, {
      ...init,
      headers: { ...init.headers, Authorization: `Bearer ${await token()}` },
      signal: AbortSignal.any([/** @type {AbortSignal} */ (init.signal), silence.signal]),
    });
    if (response.status === 429 || response.status >= 500) throw new TypeError(`status ${response.status}`);
    failures = 0;
    return { ...responseFields(response), body: response.body?.pipeThrough(watch.stream()) ?? null };
  } catch (error) {
    watch.end();
    failures++;
    throw error;
  }
}

/** @param {Response} response */
function responseFields({ url, status, redirected, headers }) {
  return { url, status, redirected, headers };
}

/** @param {() => void} onSilence */
function watchdog(onSilence) {
  let timer = setTimeout(onSilence, SILENCE_TIMEOUT_MS);
  const end = () => clearTimeout(timer);
  /** @returns {ReadableWritablePair<any, Uint8Array<ArrayBuffer>>} */
  const stream = () =>
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
