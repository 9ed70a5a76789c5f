// The open channel, kept in location.hash so that links, reloads and the back button work.
import { allowFocus } from "./focus.js";
import { signal } from "./ui.js";

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

/** @param {string} id */
export const channelLink = (id) => `#/channels/${id}`;

/** @param {string} id */
export function goToChannel(id) {
  location.hash = channelLink(id);
}

/** Opens a channel without a history entry, for choices that the user did not make. @param {string | null} id */
export function replaceChannel(id) {
  history.replaceState(null, "", id ? channelLink(id) : location.pathname);
  openChannelId.value = id;
}

export const lastChannelId = () => localStorage.getItem(LAST);

/** @param {string} id */
export const rememberChannel = (id) => localStorage.setItem(LAST, id);
