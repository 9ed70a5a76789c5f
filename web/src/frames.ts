// Work that is collected and done once a frame, so that a burst of messages renders once.
import { batch } from "@preact/signals";

/** A hidden tab has no frames. */
const LATEST_MS = 250;

let waiting: (() => void)[] = [];
let frame = 0;
let timer: ReturnType<typeof setTimeout> | undefined;

/** Runs the work in the next frame, after what was given before. */
export function inFrame(work: () => void) {
  if (waiting.push(work) > 1) return;
  frame = requestAnimationFrame(runFrame);
  timer = setTimeout(runFrame, LATEST_MS);
}

/** Runs the waiting work now. */
export function runFrame() {
  cancelAnimationFrame(frame);
  clearTimeout(timer);
  const all = waiting;
  waiting = [];
  batch(() => {
    for (const work of all) {
      try {
        work();
      } catch (error) {
        // The rest must not be lost with it.
        console.error("handling an event failed:", error);
      }
    }
  });
}
