// The event stream, GET /api/sse.
//
// The `eventsource` package is maintained, sends the Last-Event-ID header, and accepts a fetch function, unlike
// event-source-polyfill. So each reconnect has a current token, where the polyfill keeps the first one; a transient 502
// is retried, where a native EventSource would give up; and a stream without keep-alives is detected.

import { EventSource } from "eventsource";
import type { EventSourceFetchInit } from "eventsource";
import { backoff, pauseOrOnline } from "../backoff";
import { phase, renew, token } from "../session";

/** The server writes at least every 15 s; 45 s without a byte means a dead connection. */
const SILENCE_TIMEOUT_MS = 45_000;

let stream: EventSource | null = null;
let failures = 0;

/**
 * @param cursor the position in the stream at which the lists were read
 * @param handlers by event name
 */
export function listen(cursor: string | null, handlers: Record<string, (data: any) => void>) {
  stop();
  let position: string | null = cursor;

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

  /** A rejection closes an EventSource permanently: opens a new one with a new token. */
  const reopen = async (old: EventSource) => {
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

async function connect(url: string | URL, init: EventSourceFetchInit) {
  if (failures > 0) await pauseOrOnline(backoff(failures - 1));
  const silence = new AbortController();
  // Not an AbortError, which EventSource takes for a call of close().
  const watch = watchdog(() => silence.abort(new TypeError("silent")));
  try {
    const response = await fetch(url, {
      ...init,
      headers: { ...init.headers, Authorization: `Bearer ${await token()}` },
      signal: AbortSignal.any([init.signal as AbortSignal, silence.signal]),
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
