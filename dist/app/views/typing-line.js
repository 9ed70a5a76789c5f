// Users who are typing, in a line that is always present, so that nothing moves.
import { people } from "../state/people.js";
import { typists } from "../state/typing.js";
import { html, useEffect, useRef, useState } from "../ui.js";

/** With more typists, the line shows no names. */
const MAX_NAMES = 2;
/** Minimum interval between announcements to screen readers, because the list changes often. */
const SAY_AGAIN_MS = 20_000;

/** @param {{channelId: string}} props */
export function TypingLine({ channelId }) {
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
  return html`
    <div class="typing">
      ${some &&
      html`<p aria-hidden="true">
        <span class="dots"><i></i><i></i><i></i></span>
        <span class="names" dir="auto">${named(names)}</span>${" "}<span class="rest">${verb(names)} typing…</span>
      </p>`}
      <span class="unseen" role="status">${spoken}</span>
    </div>
  `;
}

/** @param {string[]} names */
function named(names) {
  if (names.length > MAX_NAMES) return "Several people";
  return names.flatMap((name, at) => [at > 0 && " and ", html`<b>${name}</b>`]);
}

/** @param {string[]} names */
const verb = (names) => (names.length === 1 ? "is" : "are");

/** @param {string[]} names */
const subject = (names) =>
  `${names.length > MAX_NAMES ? "Several people" : names.join(" and ")} ${verb(names)}`;
