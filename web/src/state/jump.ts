// Goes to a message or a day in the history of the open channel.
import { effect, untracked } from "@preact/signals";
import { t } from "../i18n";
import { wantedMessage } from "../route";
import { current } from "./conversations";
import { toast, toastError } from "./toasts";
import type { Timeline } from "./timeline";

/**
 * Shows the message that the address names.
 *
 * @returns stops
 */
export function followMessageLinks(): () => void {
  return effect(() => {
    const wanted = wantedMessage.value;
    const timeline = current.value;
    if (!wanted || timeline?.channelId !== wanted.channelId || timeline.state.value !== "ready") return;
    untracked(() => {
      wantedMessage.value = null;
      void jumpTo(timeline, { seq: wanted.seq });
    });
  });
}

/** The position of a message, or a local day as in "2026-01-31". */
export async function jumpTo(timeline: Timeline, place: { seq: number } | { day: string }) {
  try {
    const there = await timeline.jumpTo("seq" in place ? place : { at: new Date(`${place.day}T00:00`).toISOString() });
    if (there) return;
    if ("seq" in place) toast(t("This message was deleted."));
    else toast(t("There are no messages yet."));
  } catch (error) {
    toastError(error);
  }
}
