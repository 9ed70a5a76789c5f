// Asks a worker for the colours of code. It is loaded when the first code in a language is shown.

export type Coloured = string | { className: string; children: Coloured[] };

export type Question = { id: number; code: string; language: string };
/** Null for an unknown language. */
export type Answer = { id: number; parts: Coloured[] | null };

/** Code that takes longer stays without colours. The first one waits until the worker is loaded. */
const LIMIT_MS = 500;
const LOAD_LIMIT_MS = 10_000;

let worker: Worker | null = null;
let loaded = false;
let questions = 0;
/** One at a time, so that the limit counts the time of one. */
let queue: Promise<unknown> = Promise.resolve();

export function highlight(code: string, language: string): Promise<Coloured[] | null> {
  const answer = queue.then(() => ask(code, language.toLowerCase()));
  queue = answer;
  return answer;
}

function ask(code: string, language: string): Promise<Coloured[] | null> {
  worker ??= new Worker(new URL("./worker.ts", import.meta.url), { type: "module" });
  const asked = worker;
  const id = ++questions;
  return new Promise((resolve) => {
    const end = (parts: Coloured[] | null, failed: boolean) => {
      clearTimeout(timer);
      asked.onmessage = asked.onerror = null;
      if (failed) {
        asked.terminate();
        worker = null;
        loaded = false;
      }
      resolve(parts);
    };
    const timer = setTimeout(() => end(null, true), loaded ? LIMIT_MS : LOAD_LIMIT_MS);
    asked.onmessage = ({ data }: MessageEvent<Answer>) => {
      loaded = true;
      if (data.id === id) end(data.parts, false);
    };
    asked.onerror = () => end(null, true);
    asked.postMessage({ id, code, language } satisfies Question);
  });
}
