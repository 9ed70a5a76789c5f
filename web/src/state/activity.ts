// The newest message of each channel that the user can read, live from /user/queue/activity. Only the few channels that were
// opened last have subscriptions of their own.
import { signal } from "@preact/signals";
import { inFrame } from "../frames";
import { ACTIVITY } from "../live/protocol";
import { subscribe } from "../live/link";
import type { Channel, ChannelActivity } from "../types";

/** By channel id. */
const activity = signal<Map<string, ChannelActivity>>(new Map());

/** @returns stops */
export function startActivity(): () => void {
  const end = subscribe(ACTIVITY, (news: ChannelActivity[]) => inFrame(() => put(news)));
  return () => {
    end();
    activity.value = new Map();
  };
}

/** Takes a message that a subscription of its channel has delivered, which is before the activity. */
export function touchChannel(channelId: string, lastSeq: number, lastMessageAt: string) {
  put([{ channelId, lastSeq, lastMessageAt }]);
}

function put(news: ChannelActivity[]) {
  const newer = news.filter(({ channelId, lastSeq }) => lastSeq > (activity.peek().get(channelId)?.lastSeq ?? -1));
  if (!newer.length) return;
  const next = new Map(activity.peek());
  for (const each of newer) next.set(each.channelId, each);
  activity.value = next;
}

/** The position of the newest message, or 0. */
export const lastSeqOf = ({ id, lastSeq }: Channel) => Math.max(lastSeq, activity.value.get(id)?.lastSeq ?? 0);

/** The time of the newest message, or of the channel's creation. */
export const lastMessageTimeOf = ({ id, lastMessageAt }: Channel) =>
  Math.max(Date.parse(lastMessageAt), Date.parse(activity.value.get(id)?.lastMessageAt ?? lastMessageAt));
