// Channels that the user has lost since the page was opened: deleted, or the user is no longer in them. Unsent text stays in
// their drafts, to be copied.
import { computed, effect, signal, untracked } from "@preact/signals";
import { openChannelId } from "../route";
import { channels } from "./channels";
import { hasDraft } from "./drafts";
import { returnAllToDraft } from "./unsent";
import type { Channel } from "../types";

/** As last read: the open one, and those with a draft. */
const lost = signal<Channel[]>([]);

export const lostChannel = (id: string) => lost.value.find((each) => each.id === id) ?? null;

export const lostWithDraft = computed(() => lost.value.filter(({ id }) => hasDraft(id)));

/** @returns stops */
export function watchLost(): () => void {
  let known: Channel[] = [];
  const end = effect(() => {
    const now = channels.value;
    if (!now) return;
    untracked(() => {
      const ids = new Set(now.map(({ id }) => id));
      const gone = known.filter(({ id }) => !ids.has(id));
      known = now;
      // Nothing is sent to a lost channel, even if it comes back: only the user sends.
      for (const { id } of gone) returnAllToDraft(id);
      lost.value = [...lost.peek(), ...gone].filter(
        ({ id }) => !ids.has(id) && (hasDraft(id) || id === openChannelId.peek()),
      );
    });
  });
  return () => {
    end();
    lost.value = [];
  };
}
