// The channel being read and the few read before it: each with its timeline and its two subscriptions.
//
// The page is read first and then subscribed with `after-seq`, so that what is written in between is delivered too.
// The same header makes a lost connection harmless for new messages. Edits and deletions are not stored as events:
// for them the newest page is read again.

import { link, subscribe } from "../live/stomp.js";
import { rememberChannel } from "../route.js";
import { batch, computed, effect, signal, untracked } from "../ui.js";
import { channels, touchChannel } from "./channels.js";
import { refuse } from "./outbox.js";
import { pending, settle } from "./pending.js";
import { Timeline } from "./timeline.js";
import { toast } from "./toasts.js";
import { forgetTyping, heardTyping, wroteMessage } from "./typing.js";

/** How many channels stay subscribed. */
const KEPT = 6;

/** @typedef {{timeline: Timeline, stale: boolean, end: () => void}} Conversation */

/** Least recently opened first. @type {Map<string, Conversation>} */
const kept = new Map();

/** The one on screen. */
export const current = signal(/** @type {Timeline | null} */ (null));

/** @param {string | null} channelId */
export function show(channelId) {
  if (!channelId) {
    current.value = null;
    return;
  }
  const conversation = kept.get(channelId) ?? begin(channelId);
  kept.delete(channelId);
  kept.set(channelId, conversation);
  rememberChannel(channelId);
  current.value = conversation.timeline;
  if (conversation.stale) void catchUp(conversation);
  evict();
}

/** @param {string} channelId @returns {Conversation} */
function begin(channelId) {
  const timeline = new Timeline(channelId);
  const conversation = { timeline, stale: false, end: () => {} };
  void timeline.load().then((loaded) => {
    if (loaded && kept.get(channelId) === conversation) conversation.end = follow(timeline);
  });
  return conversation;
}

/** Reads a channel from the beginning again, after that failed. @param {string} channelId */
export function reopen(channelId) {
  close(channelId);
  show(channelId);
}

/** @param {Timeline} timeline @returns {() => void} */
function follow(timeline) {
  const { channelId } = timeline;
  const endMessages = subscribe(
    `/sub/channels.${channelId}.messages`,
    (body, headers) => {
      // So much was missed that it is not delivered one by one: begin with the newest page.
      if (headers["gap"] === "true") return void timeline.load();
      batch(() => {
        timeline.put(body);
        settle(body);
        wroteMessage(channelId, body.author?.id);
        touchChannel(channelId, body.createdAt);
      });
    },
    () => ({ "after-seq": String(timeline.lastSeq) }),
  );
  const endEvents = subscribe(`/sub/channels.${channelId}.events`, (event) => {
    if (event.type === "message.updated") timeline.revise(event.message);
    if (event.type === "message.deleted") timeline.remove(event.messageId);
    if (event.type === "typing") heardTyping(event);
  });
  return () => {
    endMessages();
    endEvents();
  };
}

/** @param {Conversation} conversation */
async function catchUp(conversation) {
  conversation.stale = !(await conversation.timeline.load());
  for (const message of conversation.timeline.messages.peek()) settle(message);
}

/** All files of the messages held. */
export const heldFiles = () =>
  [...kept.values()].flatMap(({ timeline }) => timeline.messages.peek().flatMap((each) => each.attachments ?? []));

function evict() {
  for (const channelId of kept.keys()) {
    if (kept.size <= KEPT) return;
    // A message on its way is only known to have arrived by the subscription.
    if (pending.peek().some((each) => each.channelId === channelId)) continue;
    if (channelId !== current.peek()?.channelId) close(channelId);
  }
}

/** @param {string} channelId */
function close(channelId) {
  kept.get(channelId)?.end();
  kept.delete(channelId);
}

/** @returns {() => void} ends it */
export function startConversations() {
  const endErrors = subscribe("/user/queue/errors", (refusal) => {
    if (!refuse(refusal)) toast(refusal.message, "error");
  });
  // Channels that are gone, or that the user was removed from.
  const ids = computed(() => channels.value?.map((each) => each.id).join(" "));
  const endPruning = effect(() => {
    const known = ids.value?.split(" ");
    if (known) for (const id of [...kept.keys()]) if (!known.includes(id)) untracked(() => close(id));
  });
  let wasLost = false;
  const endCatchingUp = effect(() => {
    if (link.value === "lost") wasLost = true;
    if (link.value !== "on" || !wasLost) return;
    wasLost = false;
    for (const conversation of kept.values()) {
      conversation.stale = true;
      if (conversation.timeline === current.peek()) void catchUp(conversation);
    }
  });
  return () => {
    endErrors();
    endPruning();
    endCatchingUp();
    for (const id of [...kept.keys()]) close(id);
    forgetTyping();
    current.value = null;
  };
}
