// Users who are typing, in a line that is always present, so that nothing moves.
import { useEffect, useRef, useState } from "preact/hooks";
import { people } from "../state/people";
import { typists } from "../state/typing";

/** With more typists, the line shows no names. */
const MAX_NAMES = 2;
/** Minimum interval between announcements to screen readers, because the list changes often. */
const SAY_AGAIN_MS = 20_000;

export function TypingLine({ channelId }: { channelId: string }) {
  const names = typists.value
    .filter((each) => each.channelId === channelId)
    .map((each) => people.value?.get(each.userId)?.username ?? each.username);
  const some = names.length > 0;
  const [spoken, setSpoken] = useState("");
  const sentAt = useRef(-Infinity);
  useEffect(() => {
    if (!some) return setSpoken("");
    if (performance.now() - sentAt.current < SAY_AGAIN_MS) return;
    sentAt.current = performance.now();
    setSpoken(`${subject(names)} typing`);
  }, [some]);
  return (
    <div class="typing">
      {some && (
        <p aria-hidden="true">
          <span class="dots">
            <i />
            <i />
            <i />
          </span>
          <span class="names" dir="auto">
            {named(names)}
          </span>{" "}
          <span class="rest">{verb(names)} typing…</span>
        </p>
      )}
      <span class="unseen" role="status">
        {spoken}
      </span>
    </div>
  );
}

function named(names: string[]) {
  if (names.length > MAX_NAMES) return "Several people";
  return names.flatMap((name, at) => [at > 0 && " and ", <b>{name}</b>]);
}

const verb = (names: string[]) => (names.length === 1 ? "is" : "are");

const subject = (names: string[]) =>
  `${names.length > MAX_NAMES ? "Several people" : names.join(" and ")} ${verb(names)}`;
