// The open channel, kept in location.hash so that links, reloads and the back button work.
import { signal } from "@preact/signals";
import { allowFocus } from "./focus";
import { stored } from "./storage";

const LAST = "discodeit.last-channel";

/** The id of the open channel, or null. */
export const openChannelId = signal(read());

addEventListener("hashchange", () => {
  allowFocus();
  openChannelId.value = read();
});

function read() {
  return /^#\/channels\/([\w-]+)$/.exec(location.hash)?.[1] ?? null;
}

export const channelLink = (id: string) => `#/channels/${id}`;

export function goToChannel(id: string) {
  location.hash = channelLink(id);
}

/** Opens a channel without a history entry, for choices that the user did not make. */
export function replaceChannel(id: string | null) {
  history.replaceState(null, "", id ? channelLink(id) : location.pathname);
  openChannelId.value = id;
}

export const lastChannelId = () => stored.get(LAST);

export const rememberChannel = (id: string) => stored.set(LAST, id);
