// Users who are typing, in a line that is always present, so that nothing moves.
import { useEffect, useRef, useState } from "preact/hooks";
import { elements, t } from "../i18n";
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
    setSpoken(spokenLine(names));
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
            {names.length > MAX_NAMES
              ? t("Several people are typing…")
              : names.length === 1
                ? elements("{name} is typing…", { name: <b>{names[0]}</b> })
                : elements("{one} and {other} are typing…", { one: <b>{names[0]}</b>, other: <b>{names[1]}</b> })}
          </span>
        </p>
      )}
      <span class="unseen" role="status">
        {spoken}
      </span>
    </div>
  );
}

function spokenLine(names: string[]) {
  if (names.length > MAX_NAMES) return t("Several people are typing…");
  return names.length === 1
    ? t("{name} is typing…", { name: names[0] })
    : t("{one} and {other} are typing…", { one: names[0], other: names[1] });
}
