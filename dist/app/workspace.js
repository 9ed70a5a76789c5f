// What runs while a user is signed in: the lists, the event stream, the STOMP connection, and the open channel.
import * as events from "./live/events.js";
import { connect, disconnect } from "./live/stomp.js";
import { forbidFocus } from "./focus.js";
import { lastChannelId, openChannelId, replaceChannel } from "./route.js";
import { channels, clearChannels, openChannel, publicChannels, refreshChannels } from "./state/channels.js";
import { loadedFiles, show, startConversations } from "./state/conversations.js";
import { clearDrafts, openDrafts } from "./state/drafts.js";
import { refreshFiles, clearFiles, updateFile } from "./state/files.js";
import { watchLost } from "./state/lost.js";
import {
  dismissRead,
  dropNotification,
  clearNotifications,
  putNotification,
  refreshNotifications,
} from "./state/notifications.js";
import { startOutbox } from "./state/outbox.js";
import { clearPeople, refreshPeople } from "./state/people.js";
import { clearReadStatuses, refreshReadStatuses } from "./state/read-statuses.js";
import { toastError } from "./state/toasts.js";
import { returnAllToDraft } from "./state/unsent.js";
import { me, notice } from "./session.js";
import { computed, effect, untracked } from "./ui.js";

/** @returns {() => void} ends the workspace and clears its state */
export function openWorkspace() {
  const user = me.peek()?.id;
  openDrafts(user ?? "");
  connect({ onRejected: refreshChannels });
  const cleanups = [startConversations(), startOutbox(), watchLost(), followRoute(), dismissRead()];
  readLists()
    .then((cursor) => me.peek()?.id === user && listen(cursor))
    .catch(toastError);
  return () => {
    events.stop();
    for (const end of cleanups) end();
    disconnect();
    returnAllToDraft();
    // Without a notice, the user signed out here. Otherwise the drafts wait until the same user signs in again.
    if (notice.peek() === null) {
      clearDrafts();
      replaceChannel(null);
    }
    clearFiles();
    clearChannels();
    clearNotifications();
    clearReadStatuses();
    clearPeople();
  };
}

/**
 * Reads the users first, so that their position in the event stream is older than every other list. The stream does not
 * wait for notifications and read statuses.
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
    "binaryContents.status": updateFile,
    resync: () => void Promise.all([readLists(), refreshFiles(loadedFiles())]).catch(toastError),
  });
}

/**
 * Shows the channel that the address names, and chooses one when it names none.
 *
 * It never chooses another one in place of a channel that is not there: the user may be typing.
 */
function followRoute() {
  const loaded = computed(() => channels.value !== null);
  const target = computed(() => openChannel.value?.id);
  return effect(() => {
    if (!loaded.value) return;
    const id = target.value;
    if (id) return untracked(() => show(id));
    const all = openChannelId.value ? [] : (channels.value ?? []);
    untracked(() => {
      show(null);
      const choice = all.find((each) => each.id === lastChannelId()) ?? publicChannels.peek()[0] ?? all[0];
      if (choice && !openChannelId.peek()) replaceChannel(choice.id);
      // A channel that appears later is not the user's choice.
      else forbidFocus();
    });
  });
}
