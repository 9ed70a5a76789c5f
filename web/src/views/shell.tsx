// The frame of the signed-in app: channels, the conversation, members.
import { useEffect, useState } from "preact/hooks";
import { t } from "../i18n";
import { connection } from "../live/link";
import { openChannelId } from "../route";
import { offline } from "../session";
import { channels } from "../state/channels";
import { current } from "../state/conversations";
import { closeDrawer, drawer, membersBeside, searchOpen } from "../state/drawers";
import { Conversation } from "./conversation";
import { closeDialog, DialogHost } from "./dialog";
import { Nowhere } from "./empty";
import { EmojiHost } from "./emoji";
import { openSwitcher } from "./lazy-dialogs";
import { Lost } from "./lost";
import { Members } from "./members";
import { Announcer } from "./notifications";
import { PersonCards } from "./person-card";
import { SearchHost } from "./search-host";
import { Sidebar } from "./sidebar";
import { focusComposer } from "./writing";

/** Shorter interruptions are not shown. */
const UNNOTICED_MS = 1_200;

export function Shell() {
  useDrawerKeys();
  useSwitcherKey();
  useEffect(() => closeDialog, []);
  const timeline = current.value;
  const lost = !timeline && channels.value !== null ? openChannelId.value : null;
  const beside = searchOpen.value ? "with-search" : membersBeside.value ? "with-members" : "";
  return (
    <div class={`shell ${beside}`} data-drawer={drawer.value ?? "none"}>
      {timeline && (
        <button type="button" class="skip" onClick={() => focusComposer(timeline.channelId)}>
          {t("Skip to the message box")}
        </button>
      )}
      <Sidebar />
      <main class="centre">
        <ConnectionBar />
        {timeline && <Conversation key={timeline.channelId} timeline={timeline} />}
        {lost && <Lost key={lost} channelId={lost} />}
        {!timeline && !lost && <Nowhere loading={channels.value === null} />}
      </main>
      <Members />
      <SearchHost />
      <div class="drawer-shade" onClick={closeDrawer} />
      <PersonCards />
      <DialogHost />
      <EmojiHost />
      <Announcer />
    </div>
  );
}

/** Opening a drawer moves the focus into it; Escape closes it and returns the focus. */
function useDrawerKeys() {
  const open = drawer.value;
  useEffect(() => {
    if (!open) return;
    const before = document.activeElement;
    const panel = document.querySelector(open === "channels" ? ".sidebar" : ".members");
    (panel?.querySelector("a, button") as HTMLElement | null | undefined)?.focus({ preventScroll: true });
    const onKey = (event: KeyboardEvent) => {
      // A dialog or popover over the drawer closes first.
      if (event.key === "Escape" && !document.querySelector(":popover-open, dialog[open]")) closeDrawer();
    };
    addEventListener("keydown", onKey);
    return () => {
      removeEventListener("keydown", onKey);
      if (before instanceof HTMLElement && before.isConnected) before.focus({ preventScroll: true });
    };
  }, [open]);
}

/** Ctrl+K, and Cmd+K on a Mac. */
function useSwitcherKey() {
  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      const wanted = (event.ctrlKey || event.metaKey) && !event.altKey && !event.shiftKey && event.code === "KeyK";
      if (!wanted || document.querySelector("dialog[open]")) return;
      event.preventDefault();
      void openSwitcher();
    };
    addEventListener("keydown", onKey);
    return () => removeEventListener("keydown", onKey);
  }, []);
}

function ConnectionBar() {
  const [shown, setShown] = useState(false);
  const away = connection.value === "connecting" || connection.value === "lost";
  useEffect(() => {
    if (!away) return setShown(false);
    const timer = setTimeout(() => setShown(true), UNNOTICED_MS);
    return () => clearTimeout(timer);
  }, [away]);
  return (
    <div class="connection" role="status">
      {connection.value === "outdated" && (
        <p>
          {t("There is a newer version of this page.")}
          <button type="button" class="link" onClick={() => location.reload()}>
            {t("Reload")}
          </button>
        </p>
      )}
      {shown && away && (
        <p>
          <span class="spinner" />
          {offline.value
            ? t("The server cannot be reached. You see what this browser has kept.")
            : connection.value === "lost"
              ? t("Reconnecting…")
              : t("Connecting…")}
        </p>
      )}
    </div>
  );
}
