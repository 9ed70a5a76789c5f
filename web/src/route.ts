// The open channel and the message that a link names, kept in location.hash so that links, reloads and the back button work.
import { batch, signal } from "@preact/signals";
import { allowFocus } from "./focus";
import { stored } from "./storage";

const LAST = "discodeit.last-channel";
const HASH = /^#\/channels\/([\w-]+)(?:\/(\d{1,15}))?$/;

/** The id of the open channel, or null. */
export const openChannelId = signal<string | null>(null);

/** A message that the user wants to see; a new object each time. Null once it is shown. */
export const wantedMessage = signal<{ channelId: string; seq: number } | null>(null);

addEventListener("hashchange", () => {
  allowFocus();
  read();
});

function read() {
  const [, channelId = null, seq] = HASH.exec(location.hash) ?? [];
  batch(() => {
    openChannelId.value = channelId;
    wantedMessage.value = channelId && seq ? { channelId, seq: Number(seq) } : null;
  });
}
read();

export const channelLink = (id: string) => `#/channels/${id}`;

/** @param seq its position in the channel */
export const messageLink = (channelId: string, seq: number) => `${channelLink(channelId)}/${seq}`;

export function goToChannel(id: string) {
  location.hash = channelLink(id);
}

export function goToMessage(channelId: string, seq: number) {
  const link = messageLink(channelId, seq);
  // The reader may have gone elsewhere in the channel since.
  if (location.hash === link) read();
  else location.hash = link;
}

/** Lets the address name the channel only, when the reader has left the message. */
export function leaveMessage() {
  const id = openChannelId.peek();
  if (id && location.hash !== channelLink(id)) history.replaceState(null, "", channelLink(id));
}

/** Opens a channel without a history entry, for choices that the user did not make. */
export function replaceChannel(id: string | null) {
  history.replaceState(null, "", id ? channelLink(id) : location.pathname);
  openChannelId.value = id;
}

export const lastChannelId = () => stored.get(LAST);

export const rememberChannel = (id: string) => stored.set(LAST, id);
