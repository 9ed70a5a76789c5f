// Says new messages of others to screen readers.
import { useEffect, useRef, useState } from "preact/hooks";
import { me } from "../session";
import { withoutSpoilers } from "../state/markdown";
import { people } from "../state/people";
import type { Timeline } from "../state/timeline";

/** Between two announcements. */
const PAUSE_MS = 1_500;
/** More messages are only counted. */
const MAX_READ = 3;
const MAX_CHARACTERS = 300;

export function Arrivals({ timeline }: { timeline: Timeline }) {
  const newest = timeline.newestSeq.value;
  const said = useRef(newest);
  const [text, setText] = useState("");
  const timer = useRef<ReturnType<typeof setTimeout> | null>(null);
  useEffect(() => {
    if (newest <= said.current) return;
    timer.current ??= setTimeout(() => {
      timer.current = null;
      setText(announcement(timeline, said.current));
      said.current = timeline.lastSeq;
    }, PAUSE_MS);
  }, [newest]);
  useEffect(() => () => clearTimeout(timer.current ?? undefined), []);
  return (
    <div class="unseen" role="status">
      {text}
    </div>
  );
}

function announcement(timeline: Timeline, after: number) {
  const news = timeline.messages
    .peek()
    .filter(({ seq, author }) => seq > after && author?.id !== me.peek()?.id)
    .map(({ author, content, attachments }) => {
      const name = people.peek()?.get(author?.id ?? "")?.username ?? author?.username ?? "Deleted user";
      return `${name}: ${withoutSpoilers(content).slice(0, MAX_CHARACTERS) || `${attachments?.length ?? 0} files`}`;
    });
  return news.length > MAX_READ ? `${news.length} new messages` : news.join(". ");
}
