import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { language, plural, t } from "../i18n";
import { leaveMessage } from "../route";
import { me } from "../session";
import { drawer } from "../state/drawers";
import { editedId, editing, startEditing } from "../state/editing";
import { jumpTo } from "../state/jump";
import { pending } from "../state/pending";
import { authorOf, hasRole, self } from "../state/people";
import { finishReading } from "../state/reading";
import { toastError } from "../state/toasts";
import { today } from "../state/today";
import { dayLabel } from "../text/time";
import { Arrivals } from "./arrivals";
import { Beginning } from "./empty";
import { CloseIcon, DownIcon, UpIcon } from "./icons";
import { askToDelete, MessageRow, reply } from "./message";
import { estimateHeight, toRows } from "./message-rows";
import { keyOf, RowActive, rowOf, useRowFocus } from "./row-focus";
import { NEAR_END_PX, placeOf, useVirtualList } from "./virtual-list";
import { focusComposer } from "./writing";
import type { ComponentChildren } from "preact";
import type { Place, Timeline } from "../state/timeline";
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
  const divider = timeline.divider.value;
  // Set when the reader has jumped here.
  const [target] = useState(() => timeline.takeTarget());
  const states = onTheirWay.map((each) => each.clientMessageId + each.state).join();
  // A pending message follows the newest.
  const rows = useMemo(
    () => toRows(messages, hasNewer ? [] : onTheirWay, self.value, hasOlder, divider),
    [messages, hasOlder, hasNewer, states, self.value, divider],
  );
  const keys = useMemo(() => [...(hasOlder ? [] : [BEGINNING]), ...rows.map(({ key }) => key)], [rows, hasOlder]);
  const first = keys.length - rows.length;
  const { active, focusRow, useRestore } = useRowFocus(box, (key) => key !== BEGINNING);
  const edited = rows.findIndex(({ entry }) => entry.message !== null && entry.message.id === editedId.value);
  const wasPartial = useRef(hasNewer);
  const [start] = useState(() => (target ? startAt(target.key, timeline.lastSeq) : timeline.place));
  const { list, complete } = useVirtualList({
    box,
    keys,
    estimate: (index) => (index < first ? BEGINNING_PX : estimateHeight(rows[index - first])),
    keep: [active === null ? -1 : keys.indexOf(active), edited < 0 ? -1 : first + edited],
    // A page that is read on scrolling down does not take the reader to its end.
    follow: !hasNewer && !wasPartial.current,
    place: start,
  });
  useLayoutEffect(() => void (wasPartial.current = hasNewer), [hasNewer]);
  const { atEnd, unseen, toEnd, onScroll } = useReading(timeline, start, box, list, onTheirWay.length);
  useRestore(list, keys);
  useLayoutEffect(() => {
    if (!target) return;
    const index = keys.indexOf(target.key);
    list.scrollToIndex(index, { align: "center" });
    focusRow(list, index);
    onScroll();
  }, []);
  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      if (event.key !== "Escape" || event.defaultPrevented || event.isComposing || isCovered()) return;
      finishReading(timeline);
      toEnd();
    };
    addEventListener("keydown", onKey);
    return () => removeEventListener("keydown", onKey);
  });

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
    else if (chosen && key.toLowerCase() === "r") reply(message);
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
      {row.isNew && (
        <div class="day fresh" role="separator">
          <span>{t("New messages")}</span>
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
          aimed={row.key === target?.key}
          complete={complete.has(row.key)}
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
        {t("Arrow keys move between messages. R replies to one. On one of yours, E edits it and Delete deletes it.")}
      </p>
      <Reading timeline={timeline} />
      {divider !== null && <NewsBar timeline={timeline} divider={divider} above={isAbove(list, rows, first)} />}
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

/** Where the list begins after a jump to a message. */
const startAt = (key: string, seen: number): Place => ({ key, distance: 0, sizes: new Map(), seen });

/** Whether something is open that Escape closes. */
const isCovered = () =>
  document.querySelector(":popover-open, dialog[open]") !== null || drawer.peek() !== null || editing.peek() !== null;

/** Whether the first new message is above the view. */
function isAbove(list: List, rows: Row[], first: number) {
  const index = rows.findIndex(({ isNew }) => isNew);
  const top = list.getVirtualItemForOffset(list.scrollOffset ?? 0)?.index ?? 0;
  // Not loaded, it is older.
  return index < 0 ? !rows.length || top <= first : first + index < top;
}

/** A component of its own, because the list would be rendered twice for each page. */
function Reading({ timeline }: { timeline: Timeline }) {
  const end = timeline.loading.value;
  if (!end) return null;
  return (
    <div class={`reading ${end}`} role="presentation">
      <span class="spinner" />
    </div>
  );
}

/** Says how many messages are new, and leads to the first of them. */
function NewsBar({ timeline, divider, above }: { timeline: Timeline; divider: number; above: boolean }) {
  const count = timeline.newestSeq.value - divider;
  if (!above || count <= 0) return null;
  return (
    <div class="news-bar">
      <button type="button" onClick={() => void jumpTo(timeline, { seq: divider + 1 })}>
        <UpIcon />
        {plural(count, "{count} new message", "{count} new messages")}
      </button>
      <button
        type="button"
        class="icon-button"
        aria-label={t("Mark as read")}
        title={t("Mark as read")}
        onClick={() => (finishReading(timeline), focusComposer(timeline.channelId))}
      >
        <CloseIcon />
      </button>
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
 * @param start where the list begins
 * @param sending how many of the reader's own are on their way
 */
function useReading(
  timeline: Timeline,
  start: Place | null,
  box: { current: HTMLDivElement | null },
  list: List,
  sending: number,
) {
  const [atBottom, setAtBottom] = useState(start === null);
  const seen = useRef(start?.seen ?? timeline.lastSeq);
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
    leaveMessage();
    setAtBottom(true);
    if (timeline.hasNewer.peek()) void timeline.load(true).catch(toastError);
    else list.scrollToEnd();
  };

  useLayoutEffect(() => {
    now.current = atEnd;
    timeline.following.value = atEnd;
  }, [atEnd]);
  useLayoutEffect(() => {
    if (!leaving.current || hasNewer) return;
    leaving.current = false;
    list.scrollToEnd();
  });
  useLayoutEffect(() => {
    if (sending > sendingBefore.current) {
      // The author sees their own message from any place.
      toEnd();
      timeline.divider.value = null;
    }
    sendingBefore.current = sending;
  }, [sending]);
  useEffect(readMore, [timeline.messages.value]);
  useLayoutEffect(() => {
    const jumps = timeline.jumps.peek();
    if (start === null) list.scrollToEnd();
    timeline.place = null;
    return () => {
      // The next list begins at the target of a jump.
      if (timeline.jumps.peek() !== jumps) return;
      const place = now.current ? null : placeOf(list);
      timeline.place = place && { ...place, seen: seen.current };
      timeline.following.value = timeline.place === null;
    };
  }, []);
  return { atEnd, unseen: atEnd ? 0 : Math.max(0, newest - seen.current), toEnd, onScroll };
}
