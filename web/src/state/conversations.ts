// The open channel and recently open ones, each with its timeline and its two subscriptions.
//
// A channel is read first and then subscribed with `after-seq`, so that messages written in between are delivered too.
// The same header recovers new messages after a lost connection. Edits and deletions are not stored as events, so the
// newest page is read again for them.

import { computed, effect, signal, untracked } from "@preact/signals";
import { inFrame, runFrame } from "../frames";
import { errorMessage } from "../i18n/errors";
import { connection, subscribe } from "../live/link";
import { t } from "../i18n";
import { rememberChannel } from "../route";
import { touchChannel } from "./activity";
import { channels } from "./channels";
import { dropReply } from "./drafts";
import { handleRefusal } from "./outbox";
import { pending, settle } from "./pending";
import { countDeleted } from "./read-statuses";
import { Timeline } from "./timeline";
import { toast } from "./toasts";
import { clearTyping, receiveTyping, stopTypingOf } from "./typing";

/** Channels that stay subscribed. */
const MAX_SUBSCRIBED = 6;

export type Conversation = { timeline: Timeline; stale: boolean; end: (gone?: boolean) => void };

/** Least recently opened first. */
const kept: Map<string, Conversation> = new Map();

/** The timeline on screen. */
export const current = signal<Timeline | null>(null);

export function show(channelId: string | null) {
  if (!channelId) {
    current.value = null;
    return;
  }
  const conversation = kept.get(channelId) ?? open(channelId);
  kept.delete(channelId);
  kept.set(channelId, conversation);
  rememberChannel(channelId);
  current.value = conversation.timeline;
  if (conversation.stale) void catchUp(conversation);
  evict();
}

function open(channelId: string): Conversation {
  const timeline = new Timeline(channelId);
  const conversation: Conversation = { timeline, stale: false, end: () => {} };
  void timeline.load().then((loaded) => {
    for (const message of timeline.messages.peek()) settle(message);
    if (loaded && kept.get(channelId) === conversation) conversation.end = follow(conversation);
  });
  return conversation;
}

/** Loads a channel again after a failure. */
export function reopen(channelId: string) {
  close(channelId);
  show(channelId);
}

function follow(conversation: Conversation): (gone?: boolean) => void {
  const { timeline } = conversation;
  const { channelId } = timeline;
  const endMessages = subscribe(
    `/sub/channels.${channelId}.messages`,
    (body, headers) => {
      // Too many messages were missed to be replayed, or only other tabs received them: reads the newest page.
      if (headers["gap"] === "true") return inFrame(() => void catchUp(conversation));
      inFrame(() => {
        timeline.put(body);
        settle(body);
        stopTypingOf(channelId, body.author?.id);
        touchChannel(channelId, body.seq, body.createdAt);
      });
    },
    () => timeline.lastSeq,
  );
  const endEvents = subscribe(`/sub/channels.${channelId}.events`, (event) => {
    // In the order of arrival with the messages.
    inFrame(() => {
      if (event.type === "message.updated") timeline.update(event.message);
      if (event.type === "message.deleted") {
        timeline.remove(event.messageId);
        countDeleted(channelId, event.seq);
        if (dropReply(channelId, event.messageId)) toast(t("The message you were replying to was deleted."));
      }
      if (event.type === "reaction") timeline.react(event.messageId, event.emoji, event.userId, event.added);
      if (event.type === "typing") receiveTyping(event);
    });
  });
  return (gone) => {
    endMessages(gone);
    endEvents(gone);
  };
}

async function catchUp(conversation: Conversation) {
  conversation.stale = !(await conversation.timeline.load());
  for (const message of conversation.timeline.messages.peek()) settle(message);
}

export const timelineOf = (channelId: string) => kept.get(channelId)?.timeline;

/** The files of all loaded messages. */
export const loadedFiles = () =>
  [...kept.values()].flatMap(({ timeline }) => timeline.messages.peek().flatMap((each) => each.attachments ?? []));

/** Ends the subscriptions of channels that are not on screen, least recently opened first. */
export function evict(max = MAX_SUBSCRIBED) {
  for (const channelId of kept.keys()) {
    if (kept.size <= max) return;
    // Only the subscription confirms a pending message.
    if (pending.peek().some((each) => each.channelId === channelId)) continue;
    if (channelId !== current.peek()?.channelId) close(channelId);
  }
}

function close(channelId: string, gone = false) {
  kept.get(channelId)?.end(gone);
  kept.delete(channelId);
}

/** @returns stops */
export function startConversations(): () => void {
  // Only a subscription confirms what waited when the page was reloaded.
  for (const id of new Set(pending.peek().map((each) => each.channelId))) kept.set(id, open(id));
  const endErrors = subscribe("/user/queue/errors", (refusal) => {
    // All tabs of the user hear of the refusal of any tab's message.
    if (!handleRefusal(refusal) && !refusal.details?.clientMessageId)
      toast(errorMessage(refusal.code, refusal.message), "error");
  });
  // Closes channels that were deleted or that the user lost.
  const ids = computed(() => channels.value?.map((each) => each.id).join(" "));
  const endPruning = effect(() => {
    const known = ids.value?.split(" ");
    if (known) for (const id of [...kept.keys()]) if (!known.includes(id)) untracked(() => close(id, true));
  });
  let wasLost = false;
  const endCatchingUp = effect(() => {
    if (connection.value === "lost") wasLost = true;
    if (connection.value !== "on" || !wasLost) return;
    wasLost = false;
    for (const conversation of kept.values()) {
      conversation.stale = true;
      if (conversation.timeline === current.peek()) void catchUp(conversation);
    }
  });
  return () => {
    // Nothing of this user may wait for the next one.
    runFrame();
    endErrors();
    endPruning();
    endCatchingUp();
    for (const id of [...kept.keys()]) close(id);
    clearTyping();
    current.value = null;
  };
}
