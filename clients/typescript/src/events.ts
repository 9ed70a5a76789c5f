// The event stream, GET /api/sse, which resumes after its last event.
//
// The `eventsource` package is maintained, sends the Last-Event-ID header, and accepts a fetch function, unlike
// event-source-polyfill. So each reconnect has a current token, where the polyfill keeps the first one; a transient 502
// is retried, where a native EventSource would give up; and a stream without keep-alives is detected.

import { EventSource } from "eventsource";
import { backoff, pauseOrOnline } from "./backoff.js";
import type { EventSourceFetchInit } from "eventsource";

/** The server writes at least every 15 s; 45 s without a byte means a dead connection. */
const SILENCE_TIMEOUT_MS = 45_000;

export interface EventOptions {
  /** Of the server, such as "https://chat.example.com". */
  server: string;
  /** Gets an access token other than `rejected`. */
  token: (rejected: string | null) => Promise<string>;
  /** The events to hear of. `resync` means that some are missing: read the lists again. */
  names: string[];
  onEvent: (name: string, data: any) => void;
}

export class EventStream {
  readonly #options: EventOptions;
  #stream: EventSource | null = null;
  #listening = false;
  /** The id of the last event. */
  #position: string | null = null;
  #failures = 0;
  #bearer: string | null = null;
  /** The server does not accept this token. */
  #rejected: string | null = null;

  constructor(options: EventOptions) {
    this.#options = options;
  }

  /** The id of the last event, to go on after it in a later stream. */
  get position() {
    return this.#position;
  }

  /** @param cursor the position in the stream at which the lists were read, from their header X-Event-Cursor */
  listen(cursor: string | null) {
    this.stop();
    this.#position = cursor;
    this.#listening = true;
    this.#failures = 0;
    this.#open();
  }

  stop() {
    this.pause();
    this.#listening = false;
  }

  /** Closes the stream until reconnect(), which goes on at the same position. */
  pause() {
    this.#stream?.close();
    this.#stream = null;
  }

  /** Replaces a stream that is probably dead. */
  reconnect() {
    this.pause();
    this.#failures = 0;
    if (this.#listening) this.#open();
  }

  #open() {
    const { server, names, onEvent } = this.#options;
    const query = this.#position ? `?lastEventId=${encodeURIComponent(this.#position)}` : "";
    const source = new EventSource(`${server.replace(/\/$/, "")}/api/sse${query}`, {
      fetch: (url, init) => this.#connect(url, init),
    });
    this.#stream = source;
    for (const name of names) {
      source.addEventListener(name, (event) => {
        this.#position = event.lastEventId || this.#position;
        onEvent(name, JSON.parse(event.data));
      });
    }
    source.addEventListener("error", () => void this.#reopen(source));
  }

  /** A rejection closes an EventSource permanently: opens a new one with a new token. */
  async #reopen(old: EventSource) {
    if (old.readyState !== EventSource.CLOSED || this.#stream !== old) return;
    this.#rejected = this.#bearer;
    await pauseOrOnline(backoff(this.#failures++));
    if (this.#stream === old) this.#open();
  }

  async #connect(url: string | URL, init: EventSourceFetchInit) {
    if (this.#failures > 0) await pauseOrOnline(backoff(this.#failures - 1));
    const silence = new AbortController();
    // Not an AbortError, which EventSource takes for a call of close().
    const watch = watchdog(() => silence.abort(new TypeError("silent")));
    // A closed stream flushes nothing; the timer would keep a process of Node alive.
    init.signal?.addEventListener("abort", watch.end, { once: true });
    try {
      this.#bearer = await this.#options.token(this.#rejected);
      const response = await fetch(url, {
        ...init,
        headers: { ...init.headers, Authorization: `Bearer ${this.#bearer}` },
        signal: AbortSignal.any([init.signal as AbortSignal, silence.signal]),
      });
      if (response.status === 429 || response.status >= 500) throw new TypeError(`status ${response.status}`);
      this.#failures = 0;
      if (response.ok) this.#rejected = null;
      return { ...responseFields(response), body: response.body?.pipeThrough(watch.stream()) ?? null };
    } catch (error) {
      watch.end();
      this.#failures++;
      throw error;
    }
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
