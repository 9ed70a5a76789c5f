// Placeholders for empty views.
import { t } from "../i18n";
import { channelTitle, companionNames, companions } from "../state/channels";
import { openChannelsDrawer } from "../state/drawers";
import { hasRole } from "../state/people";
import { ChatIcon, HashIcon, LockIcon, MenuIcon } from "./icons";
import { openCreateChannel, openNewConversation } from "./lazy-dialogs";
import { Bell } from "./notifications";
import type { Channel } from "../types";

/** A header without actions on a channel. */
export function Topbar({ title = "" }: { title?: string }) {
  return (
    <header class="topbar">
      <button
        type="button"
        class="icon-button only-narrow"
        aria-label={t("Show channels")}
        onClick={openChannelsDrawer}
      >
        <MenuIcon />
      </button>
      {title !== "" && <h1>{title}</h1>}
      <Bell className="only-narrow" />
    </header>
  );
}

/** Shown without an open channel. */
export function Nowhere({ loading }: { loading: boolean }) {
  const mayCreate = hasRole("CHANNEL_MANAGER");
  return (
    <>
      <Topbar />
      <div class="empty">
        {!loading && (
          <>
            <span class="emblem">
              <ChatIcon />
            </span>
            <h1>{t("No channels yet")}</h1>
            <p>
              {mayCreate
                ? t("Create the first channel, and everybody here will see it.")
                : t("A channel manager has to create the first one. Until then you can talk in private.")}
            </p>
            <div class="row">
              {mayCreate && (
                <button type="button" class="primary" onClick={() => void openCreateChannel()}>
                  {t("Create a channel")}
                </button>
              )}
              <button type="button" class={mayCreate ? "quiet" : "primary"} onClick={() => void openNewConversation()}>
                {t("Start a private conversation")}
              </button>
            </div>
          </>
        )}
      </div>
    </>
  );
}

/** The head of every channel. */
export function Beginning({ channel, any }: { channel: Channel; any: boolean }) {
  const title = channelTitle(channel);
  const open = channel.type === "PUBLIC";
  const alone = !open && companions(channel).length === 0;
  return (
    <div class="beginning">
      <span class="emblem">{open ? <HashIcon /> : <LockIcon />}</span>
      <h2>{open ? t("Welcome to #{name}", { name: title }) : title}</h2>
      <p dir="auto">
        {open && (channel.description || t("This is where the channel begins."))}
        {alone && t("Nobody else is in this conversation: the others have left, or their accounts were deleted.")}
        {!open && !alone && t("Only you and {names} can read this conversation.", { names: companionNames(channel) })}
      </p>
      {!any && <p>{t("No messages yet: write the first one.")}</p>}
    </div>
  );
}
