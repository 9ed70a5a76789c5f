// Marks messages as read while the reader sees the newest one, and remembers where the new ones begin.
import { effect, untracked } from "@preact/signals";
import { visible } from "../visible";
import { lastSeqOf } from "./activity";
import { channels } from "./channels";
import { current } from "./conversations";
import { createReadStatuses, haveReadStatuses, markRead, readStatusOf, refreshReadStatuses } from "./read-statuses";
import { toastError } from "./toasts";
import type { Timeline } from "./timeline";

/** @returns stops */
export function startReading(): () => void {
  const ends = [effect(followReader()), effect(refreshOnReturn()), effect(addMissing)];
  return () => ends.forEach((end) => end());
}

function followReader() {
  let opened: Timeline | null = null;
  let isNew = false;
  let position = 0;
  return () => {
    const timeline = current.value;
    if (timeline !== opened) {
      // The divider stays until the reader leaves.
      if (opened) opened.divider.value = null;
      [opened, isNew] = [timeline, true];
    }
    const status = timeline && readStatusOf(timeline.channelId);
    if (!timeline || !status || timeline.state.value !== "ready") return;
    const channel = channels.value?.find(({ id }) => id === timeline.channelId);
    // The newest message may be deleted, and then it is in no page.
    const newest = Math.max(timeline.newestSeq.value, channel ? lastSeqOf(channel) : 0);
    const seen = visible.value;
    const reading = seen && timeline.following.value;
    untracked(() => {
      const unread = newest > status.lastReadSeq;
      const { divider } = timeline;
      // A reader who is not at the end has read it on another device.
      const readElsewhere = !isNew && !reading && status.lastReadSeq > position;
      if (readElsewhere && divider.value !== null) divider.value = unread ? status.lastReadSeq : null;
      position = status.lastReadSeq;
      if (unread && (isNew || !reading)) divider.value ??= status.lastReadSeq;
      // A reader who comes back later finds what is new by then.
      if (!unread && !seen) divider.value = null;
      isNew = false;
      if (unread && reading) markRead(timeline.channelId, newest);
    });
  };
}

/** No event reports a level that the user chooses on another device. */
function refreshOnReturn() {
  let hidden = false;
  return () => {
    if (visible.value && hidden) void untracked(refreshReadStatuses).catch(toastError);
    hidden = !visible.value;
  };
}

function addMissing() {
  const missing = haveReadStatuses() && channels.value?.some(({ id }) => !readStatusOf(id));
  if (missing) void untracked(() => createReadStatuses(() => channels.peek() ?? []));
}

/** Marks all as read and forgets where the new messages began. */
export function finishReading(timeline: Timeline) {
  timeline.divider.value = null;
  markRead(timeline.channelId, timeline.lastSeq);
}
