import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { me } from "../session";
import { editedId } from "../state/editing";
import { pending } from "../state/pending";
import { hasRole, people, self } from "../state/people";
import { toastError } from "../state/toasts";
import { dayLabel } from "../text/time";
import { Beginning } from "./empty";
import { DownIcon } from "./icons";
import { MessageRow } from "./message";
import { toRows } from "./message-rows";
import { Scroller } from "./scroller";
import type { Timeline } from "../state/timeline";
import type { Channel } from "../types";

export function MessageList({ timeline, channel }: { timeline: Timeline; channel: Channel }) {
  const messages = timeline.messages.value;
  const onTheirWay = pending.value.filter((each) => each.channelId === timeline.channelId);
  const rows = useMemo(
    () => toRows(messages, onTheirWay, self.value),
    [messages, onTheirWay.map((each) => each.clientMessageId + each.state).join(), self.value],
  );
  const { atBottom, unseen, onReach, scroller } = useReading(timeline, onTheirWay.length);
  const mayDeleteAll = hasRole("ADMIN");
  const hasOlder = timeline.hasOlder.value;
  const loadOlder = () => void timeline.loadOlder().catch(toastError);

  return (
    <div class="message-pane">
      <Scroller
        handle={scroller}
        className="messages"
        label={`Messages in ${channel.name ?? "this conversation"}`}
        version={rows}
        onReach={onReach}
        onTop={hasOlder ? loadOlder : undefined}
      >
        {hasOlder && (
          <div class="older" role="presentation">
            <span class="spinner" />
          </div>
        )}
        {!hasOlder && <Beginning channel={channel} any={messages.length > 0} />}
        {rows.map((row) =>
          row.kind === "day" ? (
            <div key={row.key} class="day" role="separator">
              <span>{dayLabel(row.instant)}</span>
            </div>
          ) : (
            <MessageRow
              key={row.key}
              id={row.key}
              entry={row.entry}
              head={row.head}
              author={people.value?.get(row.entry.author?.id ?? "") ?? row.entry.author}
              own={row.entry.author?.id === me.value?.id}
              mayDelete={mayDeleteAll}
              editing={row.entry.message !== null && editedId.value === row.entry.message.id}
            />
          ),
        )}
      </Scroller>
      {!atBottom && (
        <button type="button" class={`jump ${unseen ? "news" : ""}`} onClick={() => scroller.current?.toBottom()}>
          {unseen > 0 && `${unseen} new ${unseen === 1 ? "message" : "messages"}`}
          {unseen === 0 && "Jump to the newest"}
          <DownIcon />
        </button>
      )}
    </div>
  );
}

/**
 * The reader's place: at the bottom, or further up with a count of new messages below.
 *
 * @param sending how many of the reader's own are on their way
 */
function useReading(timeline: Timeline, sending: number) {
  const scroller = useRef<Scroller | null>(null);
  const [atBottom, setAtBottom] = useState(true);
  const seen = useRef(timeline.lastSeq);
  const sendingBefore = useRef(sending);
  useLayoutEffect(() => {
    // The author sees their own message from any place.
    if (sending > sendingBefore.current) scroller.current?.toBottom();
    sendingBefore.current = sending;
  }, [sending]);
  if (atBottom) seen.current = timeline.lastSeq;

  useEffect(() => {
    if (atBottom) timeline.trim();
  }, [atBottom, timeline.messages.value]);
  const unseen = atBottom ? 0 : timeline.messages.value.filter((message) => message.seq > seen.current).length;
  return { atBottom, unseen, onReach: setAtBottom, scroller };
}
