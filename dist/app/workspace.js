// What runs while somebody is signed in: the lists, the event stream, the STOMP connection, and the open channel.
import * as events from "./live/events.js";
import { connect, disconnect } from "./live/stomp.js";
import { lastChannelId, openChannelId, replaceChannel } from "./route.js";
import { channels, forgetChannels, openChannel, publicChannels, refreshChannels } from "./state/channels.js";
import { heldFiles, show, startConversations } from "./state/conversations.js";
import { forgetDrafts } from "./state/drafts.js";
import { askAbout, forgetFiles, heardOfFile } from "./state/files.js";
import {
  dismissWhatIsRead,
  dropNotification,
  forgetNotifications,
  putNotification,
  refreshNotifications,
} from "./state/notifications.js";
import { startOutbox } from "./state/outbox.js";
import { forgetPending } from "./state/pending.js";
import { forgetPeople, refreshPeople } from "./state/people.js";
import { forgetReadStatuses, refreshReadStatuses } from "./state/read-statuses.js";
import { toastError } from "./state/toasts.js";
import { me } from "./session.js";
import { computed, effect, untracked } from "./ui.js";

/** @returns {() => void} ends it and forgets everything */
export function openWorkspace() {
  const user = me.peek()?.id;
  connect({ onRefused: refreshChannels });
  const ends = [startConversations(), startOutbox(), followRoute(), dismissWhatIsRead()];
  readLists()
    .then((cursor) => me.peek()?.id === user && listen(cursor))
    .catch(toastError);
  return () => {
    events.stop();
    for (const end of ends) end();
    disconnect();
    forgetPending();
    forgetDrafts();
    forgetFiles();
    forgetChannels();
    forgetNotifications();
    forgetReadStatuses();
    forgetPeople();
  };
}

/**
 * One ahead of the others, so that its place in the event stream is older than them all. What is merely useful comes when
 * it comes: the stream must not wait for it.
 */
async function readLists() {
  const cursor = await refreshPeople();
  void Promise.all([refreshNotifications(), refreshReadStatuses()]).catch(toastError);
  await refreshChannels();
  return cursor;
}

/** @param {string | null} cursor */
function listen(cursor) {
  events.listen(cursor, {
    "channels.refresh": () => void refreshChannels().catch(toastError),
    "users.refresh": () => void refreshPeople().catch(toastError),
    notifications: putNotification,
    "notifications.deleted": ({ id }) => dropNotification(id),
    "binaryContents.status": heardOfFile,
    resync: () => void Promise.all([readLists(), askAbout(heldFiles())]).catch(toastError),
  });
}

/** Shows the channel the address names, and finds one when it names none or one that is not there. */
function followRoute() {
  const loaded = computed(() => channels.value !== null);
  const target = computed(() => openChannel.value?.id);
  return effect(() => {
    if (!loaded.value) return;
    const id = target.value;
    if (id) return untracked(() => show(id));
    const all = channels.value ?? [];
    const named = openChannelId.value;
    untracked(() => {
      show(null);
      const instead = all.find((each) => each.id === lastChannelId()) ?? publicChannels.peek()[0] ?? all[0];
      if (instead || named) replaceChannel(instead?.id ?? null);
    });
  });
}
