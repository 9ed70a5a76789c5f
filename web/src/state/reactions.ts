// The user's reactions: shown at once, and taken back when the server refuses them.
import * as api from "../api";
import { me } from "../session";
import { timelineOf } from "./conversations";
import { retry } from "./retry";
import { toastError } from "./toasts";
import type { Message, Reaction } from "../types";

/** The last request about each message and emoji: two quick presses reach the server in their order. */
const requests: Map<string, Promise<void>> = new Map();

export const isMine = (reaction: Reaction) => reaction.userIds.includes(me.peek()?.id ?? "");

/** Adds the user's reaction, or removes it. */
export function toggleReaction({ id, channelId, reactions = [] }: Message, emoji: string) {
  react(id, channelId, emoji, !reactions.some((each) => each.emoji === emoji && isMine(each)));
}

export function react(messageId: string, channelId: string, emoji: string, added: boolean) {
  const userId = me.peek()?.id ?? "";
  const timeline = () => timelineOf(channelId);
  const held =
    timeline()
      ?.messages.peek()
      .find(({ id }) => id === messageId)?.reactions ?? [];
  const place = held.findIndex((each) => each.emoji === emoji);
  // One that is taken back returns to its place.
  const show = (shown: boolean) => timeline()?.react(messageId, emoji, userId, shown, place < 0 ? undefined : place);
  const change = added ? api.addReaction : api.removeReaction;
  show(added);
  const key = `${messageId} ${emoji}`;
  const request: Promise<void> = (requests.get(key) ?? Promise.resolve())
    .then(() => retry(() => change(messageId, emoji)))
    .catch((error: unknown) => {
      if (me.peek()?.id !== userId) return;
      show(!added);
      toastError(error);
    })
    .finally(() => requests.get(key) === request && requests.delete(key));
  requests.set(key, request);
}
