// The quick switcher (Ctrl+K): goes to a channel, a conversation or a person by a part of its name.
import { useId, useLayoutEffect, useRef, useState } from "preact/hooks";
import { t } from "../i18n";
import { goToChannel, openChannelId } from "../route";
import { me } from "../session";
import { channels, channelTitle, companions, findPrivateChannel } from "../state/channels";
import { people } from "../state/people";
import { Avatar } from "./avatar";
import { closeDialog, Dialog } from "./dialog";
import { HashIcon, PeopleIcon } from "./icons";
import { openNewConversation } from "./lazy-dialogs";
import type { Channel, User } from "../types";

const MAX_SHOWN = 50;

type Place =
  { id: string; name: string; channel: Channel; user?: undefined } | { id: string; name: string; user: User };

export function Switcher() {
  const [query, setQuery] = useState("");
  const [chosen, setChosen] = useState(0);
  const list = useRef<HTMLUListElement | null>(null);
  const id = useId();
  const found = search(query);
  const at = Math.min(chosen, found.length - 1);
  useLayoutEffect(() => list.current?.children[at]?.scrollIntoView({ block: "nearest" }), [at, query]);

  const go = (place: Place | undefined) => {
    if (!place) return;
    closeDialog();
    if (place.user) void openNewConversation([place.user.id]);
    else goToChannel(place.id);
  };
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.isComposing) return;
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step && found.length) setChosen((at + step + found.length) % found.length);
    else if (event.key === "Enter") go(found[at]);
    else return;
    event.preventDefault();
  };

  return (
    <Dialog title={t("Go to a channel or a person")}>
      <input
        // Escape closes the dialog; in a search field, it would first clear the text.
        type="text"
        class="search"
        role="combobox"
        list={undefined}
        aria-label={t("Part of the name")}
        placeholder={t("Part of the name")}
        aria-expanded={true}
        aria-controls={id}
        aria-activedescendant={found.length ? `${id}-${at}` : undefined}
        aria-autocomplete="list"
        data-autofocus
        value={query}
        onInput={({ currentTarget }) => {
          setQuery(currentTarget.value);
          setChosen(0);
        }}
        onKeyDown={onKeyDown}
      />
      <ul ref={list} id={id} class="switcher" role="listbox" aria-label={t("Channels and people")}>
        {found.map((place, index) => (
          <li
            key={place.id}
            id={`${id}-${index}`}
            role="option"
            aria-selected={index === at}
            onMouseMove={() => setChosen(index)}
            onClick={() => go(place)}
          >
            <Icon place={place} />
            <span class="name">{place.name}</span>
          </li>
        ))}
      </ul>
      <p class="none" role="status">
        {found.length === 0 && t("Nothing has such a name.")}
      </p>
    </Dialog>
  );
}

function Icon({ place }: { place: Place }) {
  if (place.user) return <Avatar user={place.user} size="small" presence />;
  if (place.channel.type === "PUBLIC") return <HashIcon />;
  const others = companions(place.channel);
  return others.length === 1 ? <Avatar user={others[0]} size="small" presence /> : <PeopleIcon />;
}

/** The newest conversations first; with a query, those that begin with it. People with a conversation are found by it. */
function search(query: string): Place[] {
  const wanted = query.trim().toLocaleLowerCase().replace(/^[#@]/, "");
  const places: Place[] = [...(channels.value ?? [])]
    .sort((a, b) => Date.parse(b.lastMessageAt) - Date.parse(a.lastMessageAt))
    .filter(({ id }) => wanted || id !== openChannelId.value)
    .map((channel) => ({ id: channel.id, name: channelTitle(channel), channel }));
  const others: Place[] = [...(people.value?.values() ?? [])]
    .filter((user) => user.id !== me.value?.id && !findPrivateChannel([user.id]))
    .map((user) => ({ id: user.id, name: user.username, user }));
  const rank = ({ name }: Place) => name.toLocaleLowerCase().indexOf(wanted);
  return [...places, ...others]
    .map((place) => ({ place, rank: rank(place) }))
    .filter(({ rank }) => rank >= 0)
    .sort((a, b) => Math.sign(a.rank) - Math.sign(b.rank))
    .slice(0, MAX_SHOWN)
    .map(({ place }) => place);
}
