import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { language, plural, t } from "../i18n";
import { me } from "../session";
import { editedId, startEditing } from "../state/editing";
import { pending } from "../state/pending";
import { authorOf, hasRole, self } from "../state/people";
import { toastError } from "../state/toasts";
import { today } from "../state/today";
import { dayLabel } from "../text/time";
import { Arrivals } from "./arrivals";
import { Beginning } from "./empty";
import { DownIcon } from "./icons";
import { askToDelete, MessageRow } from "./message";
import { estimateHeight, toRows } from "./message-rows";
import { keyOf, RowActive, rowOf, useRowFocus } from "./row-focus";
import { NEAR_END_PX, placeOf, useVirtualList } from "./virtual-list";
import { focusComposer } from "./writing";
import type { ComponentChildren } from "preact";
import type { Timeline } from "../state/timeline";
import type { Channel } from "../types";
import type { Row } from "./message-rows";
import type { List } from "./virtual-list";

const BEGINNING = "beginning";
const BEGINNING_PX = 170;
/** More is read within this many pixels of an end. */
const READ_AHEAD_PX = 800;

export function MessageList({ timeline, channel }: { timeline: Timeline; channel: Channel }) {
  const box = useRef<HTMLDivElement>(null);
  const messages = timeline.messages.value;
  const hasOlder = timeline.hasOlder.value;
  const hasNewer = timeline.hasNewer.value;
  const onTheirWay = pending.value.filter((each) => each.channelId === timeline.channelId);
  const states = onTheirWay.map((each) => each.clientMessageId + each.state).join();
  // A pending message follows the newest.
  const rows = useMemo(
    () => toRows(messages, hasNewer ? [] : onTheirWay, self.value, hasOlder),
    [messages, hasOlder, hasNewer, states, self.value],
  );
  const keys = useMemo(() => [...(hasOlder ? [] : [BEGINNING]), ...rows.map(({ key }) => key)], [rows, hasOlder]);
  const first = keys.length - rows.length;
  const { active, focusRow, useRestore } = useRowFocus(box, (key) => key !== BEGINNING);
  const edited = rows.findIndex(({ entry }) => entry.message !== null && entry.message.id === editedId.value);
  const wasPartial = useRef(hasNewer);
  const list = useVirtualList({
    box,
    keys,
    estimate: (index) => (index < first ? BEGINNING_PX : estimateHeight(rows[index - first])),
    keep: [active === null ? -1 : keys.indexOf(active), edited < 0 ? -1 : first + edited],
    // A page that is read on scrolling down does not take the reader to its end.
    follow: !hasNewer && !wasPartial.current,
    place: timeline.place,
  });
  useLayoutEffect(() => void (wasPartial.current = hasNewer), [hasNewer]);
  const { atEnd, unseen, toEnd, onScroll } = useReading(timeline, box, list, onTheirWay.length);
  useRestore(list, keys);

  const onKeyDown = (event: KeyboardEvent) => {
    const row = rowOf(event.target);
    const onList = event.target === box.current;
    if (event.altKey || event.ctrlKey || event.metaKey || event.isComposing) return;
    // Keys in an editor, and on a button in a row.
    if (!onList && event.target !== row) return;
    const index = onList ? -1 : keys.indexOf(keyOf(row) ?? "");
    if (!handleKey(event, index)) return;
    event.preventDefault();
    event.stopPropagation();
  };

  function handleKey({ key, target }: KeyboardEvent, index: number) {
    const { message } = rows[index - first]?.entry ?? { message: null };
    const own = message?.author?.id === me.peek()?.id;
    // Not after a click, when the user may expect to type somewhere else.
    const chosen = message !== null && (target as Element).matches(":focus-visible");
    if (key === "ArrowUp" || key === "ArrowDown") {
      const step = key === "ArrowUp" ? -1 : 1;
      if (index < 0) focusRow(list, visible(list, first, key === "ArrowUp" ? "last" : "first"));
      else if (index + step >= keys.length) focusComposer(channel.id);
      else if (index + step >= first) focusRow(list, index + step);
    } else if (index < 0) return false;
    else if (key === "Home") focusRow(list, first);
    else if (key === "End") focusRow(list, keys.length - 1);
    else if (key === "Escape") focusComposer(channel.id);
    else if (chosen && own && key.toLowerCase() === "e") startEditing(message);
    else if (chosen && (own || hasRole("ADMIN")) && key === "Delete") askToDelete(message);
    else return false;
    return true;
  }

  const mayDeleteAll = hasRole("ADMIN");
  const renderRow = (row: Row) => (
    <>
      {row.newDay && (
        <div class="day" role="separator">
          <span>{dayLabel(row.entry.createdAt, today.value)}</span>
        </div>
      )}
      <RowActive.Provider value={row.key === active}>
        <MessageRow
          id={row.key}
          entry={row.entry}
          head={row.head}
          author={authorOf(row.entry.author)}
          own={row.entry.author?.id === me.value?.id}
          mayDelete={mayDeleteAll}
          editing={row.entry.message !== null && editedId.value === row.entry.message.id}
          language={language.value}
        />
      </RowActive.Provider>
    </>
  );

  return (
    <div class="message-pane">
      <div
        ref={box}
        class="messages"
        role="log"
        // Rows also appear on scrolling. Arrivals announces the new ones.
        aria-live="off"
        aria-label={
          channel.name === null ? t("Messages in this conversation") : t("Messages in {name}", { name: channel.name })
        }
        aria-describedby="messages-keys"
        tabindex={0}
        onScroll={onScroll}
        onKeyDown={onKeyDown}
      >
        <div class="messages-inner">
          {inFlow(list, (index) =>
            index < first ? <Beginning channel={channel} any={messages.length > 0} /> : renderRow(rows[index - first]),
          )}
        </div>
      </div>
      <p id="messages-keys" hidden>
        {t("Arrow keys move between messages. On one of yours, E edits it and Delete deletes it.")}
      </p>
      {timeline.loading.value && (
        <div class={`reading ${timeline.loading.value}`} role="presentation">
          <span class="spinner" />
        </div>
      )}
      {!atEnd && (
        <button type="button" class={`jump ${unseen ? "news" : ""}`} onClick={toEnd}>
          {unseen > 0 && plural(unseen, "{count} new message", "{count} new messages")}
          {unseen === 0 && t("Jump to the newest")}
          <DownIcon />
        </button>
      )}
      <Arrivals timeline={timeline} />
    </div>
  );
}

/** The rows near the view, with spacers in place of the others. */
function inFlow(list: List, render: (index: number) => ComponentChildren) {
  const parts: ComponentChildren[] = [];
  let end = 0;
  for (const { key, index, start, end: next } of list.getVirtualItems()) {
    if (start > end) parts.push(<div key={`before-${String(key)}`} style={{ height: `${start - end}px` }} />);
    parts.push(
      <div key={key} ref={list.measureElement} class="message-row" data-index={index}>
        {render(index)}
      </div>,
    );
    end = next;
  }
  parts.push(<div key="after" style={{ height: `${Math.max(0, list.getTotalSize() - end)}px` }} />);
  return parts;
}

/** The first or last row that is whole in view. */
function visible(list: List, from: number, which: "first" | "last") {
  const top = list.scrollOffset ?? 0;
  const bottom = top + (list.scrollRect?.height ?? 0);
  const inside = list
    .getVirtualItems()
    .filter(({ index, start, end }) => index >= from && start >= top - 1 && end <= bottom + 1);
  return inside.at(which === "first" ? 0 : -1)?.index ?? from;
}

/**
 * The reader's place: at the newest message, or further up with a count of new messages below.
 *
 * @param sending how many of the reader's own are on their way
 */
function useReading(timeline: Timeline, box: { current: HTMLDivElement | null }, list: List, sending: number) {
  const [atBottom, setAtBottom] = useState(timeline.place === null);
  const seen = useRef(timeline.place?.seen ?? timeline.lastSeq);
  const sendingBefore = useRef(sending);
  const leaving = useRef(false);
  const hasNewer = timeline.hasNewer.value;
  const newest = timeline.newestSeq.value;
  const atEnd = atBottom && !hasNewer;
  const now = useRef(atEnd);
  if (atEnd) seen.current = newest;

  const readMore = () => {
    // The effect of a frozen tab runs late, when the list may be gone.
    if (!box.current) return;
    const { scrollTop, scrollHeight, clientHeight } = box.current;
    if (scrollTop < READ_AHEAD_PX && timeline.hasOlder.peek()) void timeline.loadOlder().catch(toastError);
    else if (scrollHeight - scrollTop - clientHeight < READ_AHEAD_PX && timeline.hasNewer.peek())
      void timeline.loadNewer().catch(toastError);
  };
  const onScroll = () => {
    if (!box.current) return;
    const { scrollTop, scrollHeight, clientHeight } = box.current;
    setAtBottom(scrollHeight - scrollTop - clientHeight < NEAR_END_PX);
    readMore();
  };
  const toEnd = () => {
    // The button that was pressed disappears.
    if (document.activeElement?.closest(".message-pane")) box.current?.focus({ preventScroll: true });
    leaving.current = true;
    setAtBottom(true);
    if (timeline.hasNewer.peek()) void timeline.load(true).catch(toastError);
    else list.scrollToEnd();
  };

  useLayoutEffect(() => {
    now.current = atEnd;
    timeline.following = atEnd;
  }, [atEnd]);
  useLayoutEffect(() => {
    if (!leaving.current || hasNewer) return;
    leaving.current = false;
    list.scrollToEnd();
  });
  useLayoutEffect(() => {
    // The author sees their own message from any place.
    if (sending > sendingBefore.current) toEnd();
    sendingBefore.current = sending;
  }, [sending]);
  useEffect(readMore, [timeline.messages.value]);
  useLayoutEffect(() => {
    if (timeline.place === null) list.scrollToEnd();
    timeline.place = null;
    return () => {
      const place = now.current ? null : placeOf(list);
      timeline.place = place && { ...place, seen: seen.current };
      timeline.following = timeline.place === null;
    };
  }, []);
  return { atEnd, unseen: atEnd ? 0 : Math.max(0, newest - seen.current), toEnd, onScroll };
}
