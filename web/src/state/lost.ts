// Channels that the user has lost: deleted, or the user is no longer in them. Unsent text stays in their drafts, to be copied.
import { computed, effect, signal, untracked } from "@preact/signals";
import { t } from "../i18n";
import { openChannelId } from "../route";
import { channels, channelTitle, wasDropped } from "./channels";
import { draftChannels, hasDraft } from "./drafts";
import { pending } from "./pending";
import { toast } from "./toasts";
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
      const unsendable = pending.peek().filter(({ channelId }) => !ids.has(channelId));
      for (const id of new Set([...gone.map(({ id }) => id), ...unsendable.map(({ channelId }) => channelId)])) {
        returnAllToDraft(id);
      }
      for (const channel of gone) {
        if (channel.id === openChannelId.peek() || wasDropped(channel.id)) continue;
        const name = channelTitle(channel);
        toast(
          channel.type === "PUBLIC"
            ? t("#{name} was deleted.", { name })
            : t("“{name}” is gone: it was deleted, or you were removed from it.", { name }),
        );
      }
      const all = new Map([...draftChannels(), ...lost.peek(), ...gone].map((channel) => [channel.id, channel]));
      lost.value = [...all.values()].filter(({ id }) => !ids.has(id) && (hasDraft(id) || id === openChannelId.peek()));
    });
  });
  return () => {
    end();
    lost.value = [];
  };
}
