// Completion of names after "@" in a text area: a list box, which the keys of the text area control.
import { useEffect, useId, useState } from "preact/hooks";
import * as api from "../api";
import { plural, t } from "../i18n";
import { me } from "../session";
import { people } from "../state/people";
import { matching, nameBefore } from "../text/mentions";
import { Avatar } from "./avatar";
import type { RefObject } from "preact";
import type { Channel, User } from "../types";

const MAX_SHOWN = 8;
/** The server is asked when the user pauses. */
const PAUSE_MS = 200;

interface Writing {
  start: number;
  query: string;
  cursor: number;
}

/** Whom a message in a channel can mention, without its author. @param further users whom this browser may not know */
function others(channel: Channel, further: User[]): User[] {
  const known = people.value ?? new Map<string, User>();
  const all =
    channel.type === "PRIVATE"
      ? channel.participants
      : [...known.values(), ...further.filter(({ id }) => !known.has(id))];
  return all.filter(({ id }) => id !== me.value?.id);
}

/** @returns `list`: to show above the text area; the others are for the text area */
export function useMentions(
  area: RefObject<HTMLTextAreaElement | null>,
  channel: Channel,
  onText: (text: string) => void,
) {
  const [writing, setWriting] = useState<Writing | null>(null);
  const [active, setActive] = useState(0);
  const [further, setFurther] = useState<User[]>([]);
  const id = useId();
  const isPublic = channel.type === "PUBLIC";

  const users = writing ? matching(others(channel, further), writing.query, MAX_SHOWN) : [];
  const open = users.length > 0;
  const index = Math.min(active, users.length - 1);

  const isComplete = open && active === 0 && users[0].username.toLowerCase() === writing?.query.toLowerCase();

  // Others than those that this browser knows.
  const query = isPublic && users.length < MAX_SHOWN ? writing?.query.trim() : undefined;
  useEffect(() => {
    if (!query) return;
    const timer = setTimeout(
      () =>
        void api.findUsers(query, MAX_SHOWN).then(setFurther, (error: unknown) => {
          console.warn("reading names failed:", error);
        }),
      PAUSE_MS,
    );
    return () => clearTimeout(timer);
  }, [query]);

  const follow = () => {
    const { value, selectionStart, selectionEnd } = area.current as HTMLTextAreaElement;
    const found = selectionStart === selectionEnd ? nameBefore(value, selectionStart) : null;
    const same = found?.query === writing?.query && found?.start === writing?.start;
    if (same) return;
    setActive(0);
    setWriting(found && { ...found, cursor: selectionStart });
  };
  const choose = ({ username }: User) => {
    if (!writing || !area.current) return;
    area.current.setRangeText(`@${username} `, writing.start, writing.cursor, "end");
    setWriting(null);
    onText(area.current.value);
    area.current.focus({ preventScroll: true });
  };
  /** @returns whether the key was for the list */
  const onKey = (event: KeyboardEvent): boolean => {
    if (!open) return false;
    const { key } = event;
    // A name that is complete needs no key of its own before the message is sent.
    if (key === "Enter" && isComplete) return false;
    if (key === "ArrowDown") setActive((index + 1) % users.length);
    else if (key === "ArrowUp") setActive((index - 1 + users.length) % users.length);
    else if ((key === "Enter" && !event.shiftKey) || key === "Tab") choose(users[index]);
    else if (key === "Escape") setWriting(null);
    else return false;
    event.preventDefault();
    event.stopPropagation();
    return true;
  };

  const list = open && (
    <>
      <ul class="mention-list" role="listbox" id={id} aria-label={t("People to mention")}>
        {users.map((user, at) => (
          <li
            key={user.id}
            id={`${id}-${at}`}
            role="option"
            aria-selected={at === index}
            // The focus stays in the text area.
            onPointerDown={(event) => event.preventDefault()}
            onClick={() => choose(user)}
          >
            <Avatar user={user} size="small" />
            <span class="name">{user.username}</span>
          </li>
        ))}
      </ul>
      <p class="unseen" role="status">
        {plural(
          users.length,
          "{count} name. Choose with the arrow keys.",
          "{count} names. Choose with the arrow keys.",
        )}
      </p>
    </>
  );
  return {
    list,
    onKey,
    aria: {
      "aria-autocomplete": "list" as const,
      "aria-haspopup": "listbox" as const,
      "aria-controls": open ? id : undefined,
      "aria-activedescendant": open ? `${id}-${index}` : undefined,
    },
    follow,
    leave: () => setWriting(null),
  };
}
