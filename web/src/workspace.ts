// What runs while a user is signed in: the lists, the event stream, the STOMP connection, and the open channel.
import { computed, effect, untracked } from "@preact/signals";
import { showBadge } from "./badge";
import { t } from "./i18n";
import { closeLink, listen, openLink } from "./live/link";
import { forbidFocus } from "./focus";
import { lastChannelId, openChannelId, replaceChannel } from "./route";
import { alertTo, closeAlerts } from "./state/alerts";
import { startActivity } from "./state/activity";
import {
  channels,
  clearChannels,
  forgetCompanions,
  openChannel,
  publicChannels,
  refreshChannels,
  rememberCompanions,
} from "./state/channels";
import { evict, loadedFiles, show, startConversations } from "./state/conversations";
import { clearDrafts, openDrafts, storeDrafts } from "./state/drafts";
import { refreshFiles, clearFiles, updateFile } from "./state/files";
import { startKeeping } from "./state/keeping";
import { watchLost } from "./state/lost";
import { followMessageLinks } from "./state/jump";
import { watchMembership } from "./state/membership";
import {
  dismissRead,
  dropNotification,
  clearNotifications,
  putNotification,
  refreshNotifications,
} from "./state/notifications";
import { startOutbox } from "./state/outbox";
import { startReading } from "./state/reading";
import { clearPending, openPending, parkPending, pending } from "./state/pending";
import { clearPeople, refreshPeople, refreshPerson } from "./state/people";
import { clearReadStatuses, putReadStatus, refreshReadStatuses } from "./state/read-statuses";
import { toast, toastError } from "./state/toasts";
import { returnFilesToDraft } from "./state/unsent";
import { roleName } from "./text/role";
import { me, notice } from "./session";
import type { User } from "./types";

/** Who was signed in last in this tab. */
let before: User | null = null;

/** @returns ends the workspace and clears its state */
export function openWorkspace(): () => void {
  const self = me.peek();
  const user = self?.id;
  // A new role ends the sessions of its user.
  if (self && before?.id === user && before?.role !== self.role)
    toast(t("Your role is now {role}.", { role: roleName(self.role) }));
  before = self;
  openDrafts(user ?? "");
  openLink(user ?? "", { events: handlers, onRejected: refreshChannels, onTooMany: () => evict(1) });
  const cleanups = [
    openPending(user ?? ""),
    warnBeforeUnload(),
    startActivity(),
    startConversations(),
    startReading(),
    followMessageLinks(),
    startOutbox(),
    rememberCompanions(user ?? ""),
    watchLost(),
    watchMembership(),
    followRoute(),
    dismissRead(),
    closeAlerts(),
    showBadge(),
    startKeeping(user ?? ""),
  ];
  readLists()
    .then((cursor) => me.peek()?.id === user && listen(cursor))
    .catch(toastError);
  return () => {
    for (const end of cleanups) end();
    closeLink();
    // Without a notice, the user signed out here. Otherwise everything unsent waits until the same user signs in again.
    if (notice.peek() === null) {
      clearPending(user ?? "");
      clearDrafts();
      forgetCompanions(user ?? "");
      replaceChannel(null);
    } else {
      returnFilesToDraft();
      parkPending(user ?? "");
      storeDrafts();
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

const handlers: Record<string, (data: any) => void> = {
  "channels.refresh": () => void refreshChannels().catch(toastError),
  "users.refresh": ({ userId }) => refreshPerson(userId),
  notifications: (news) => {
    putNotification(news);
    alertTo(news);
    // Only the server counts mentions.
    if (news.reason === "MENTION") void refreshReadStatuses().catch(toastError);
  },
  "notifications.deleted": ({ id }) => {
    dropNotification(id);
    // It may be of a deleted message that mentioned the user.
    void refreshReadStatuses().catch(toastError);
  },
  "readStatuses.updated": putReadStatus,
  "binaryContents.status": updateFile,
  resync: () => void Promise.all([readLists(), refreshFiles(loadedFiles())]).catch(toastError),
};

/** Files that wait are lost with the page; text is not. */
function warnBeforeUnload() {
  const warn = (event: BeforeUnloadEvent) => {
    if (pending.peek().some(({ files, state }) => files.length && state !== "stored")) event.preventDefault();
  };
  addEventListener("beforeunload", warn);
  return () => removeEventListener("beforeunload", warn);
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
