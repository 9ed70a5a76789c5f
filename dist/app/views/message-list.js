import { me } from "../session.js";
import { editedId } from "../state/editing.js";
import { pending } from "../state/pending.js";
import { hasRole, people, self } from "../state/people.js";
import { toastError } from "../state/toasts.js";
import { dayLabel } from "../text/time.js";
import { html, useEffect, useLayoutEffect, useMemo, useRef, useState } from "../ui.js";
import { Beginning } from "./empty.js";
import { DownIcon } from "./icons.js";
import { MessageRow } from "./message.js";
import { toRows } from "./message-rows.js";
import { Scroller } from "./scroller.js";

/** @typedef {import("../state/timeline.js").Timeline} Timeline */

/** @param {{timeline: Timeline, channel: import("../types.js").Channel}} props */
export function MessageList({ timeline, channel }) {
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

  return html`
    <div class="message-pane">
      <${Scroller} handle=${scroller} className="messages" label=${`Messages in ${channel.name ?? "this conversation"}`}
        version=${rows} onReach=${onReach} onTop=${hasOlder ? loadOlder : undefined}>
        ${hasOlder && html`<div class="older" role="presentation"><span class="spinner"></span></div>`}
        ${!hasOlder && html`<${Beginning} channel=${channel} any=${messages.length > 0} />`}
        ${rows.map((row) =>
          row.kind === "day"
            ? html`<div key=${row.key} class="day" role="separator"><span>${dayLabel(row.instant)}</span></div>`
            : html`<${MessageRow} key=${row.key} id=${row.key} entry=${row.entry} head=${row.head}
                author=${people.value?.get(row.entry.author?.id ?? "") ?? row.entry.author}
                own=${row.entry.author?.id === me.value?.id} mayDelete=${mayDeleteAll}
                editing=${row.entry.message !== null && editedId.value === row.entry.message.id} />`,
        )}
      <//>
      ${!atBottom &&
      html`<button type="button" class=${`jump ${unseen ? "news" : ""}`} onClick=${() => scroller.current?.toBottom()}>
        ${unseen > 0 && `${unseen} new ${unseen === 1 ? "message" : "messages"}`}
        ${unseen === 0 && "Jump to the newest"}
        <${DownIcon} />
      </button>`}
    </div>
  `;
}

/**
 * The reader's place: at the bottom, or further up with a count of new messages below.
 *
 * @param {Timeline} timeline
 * @param {number} sending how many of the reader's own are on their way
 */
function useReading(timeline, sending) {
  const scroller = useRef(/** @type {Scroller | null} */ (null));
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
