// The left column: the server, its channels, private conversations, and the user.
import { plural, t } from "../i18n";
import { channelLink, openChannelId } from "../route";
import { signOut } from "../session";
import { channels, channelTitle, companions, privateChannels, publicChannels } from "../state/channels";
import { closeDrawer } from "../state/drawers";
import { lostWithDraft } from "../state/lost";
import { pending } from "../state/pending";
import { hasRole, self } from "../state/people";
import { levelOf, unreadOf } from "../state/read-statuses";
import { toastError } from "../state/toasts";
import { Avatar } from "./avatar";
import { Confirm, openDialog } from "./dialog";
import { HashIcon, Logo, PeopleIcon, PlusIcon, SettingsIcon, ShieldIcon, SignOutIcon } from "./icons";
import {
  openAdministration,
  openCreateChannel,
  openNewConversation,
  openProfile,
  openSettings,
  openSwitcher,
} from "./lazy-dialogs";
import { Bell, shortCount } from "./notifications";
import { roleName } from "../text/role";
import type { ComponentChildren } from "preact";
import type { Channel } from "../types";

export function Sidebar() {
  return (
    <nav class="sidebar" aria-label={t("Channels")}>
      <header class="server">
        <Logo />
        <div class="place">
          <strong>Discodeit</strong>
          <span>{location.host}</span>
        </div>
        {hasRole("ADMIN") && (
          <button
            type="button"
            class="icon-button"
            aria-label={t("Administration")}
            title={t("Administration")}
            onClick={() => void openAdministration()}
          >
            <ShieldIcon />
          </button>
        )}
        <Bell />
      </header>
      <button type="button" class="find" aria-keyshortcuts="Control+K" onClick={() => void openSwitcher()}>
        {t("Go to…")} <kbd>Ctrl K</kbd>
      </button>
      <div class="sidebar-lists">
        <Section
          title={t("Channels")}
          action={hasRole("CHANNEL_MANAGER") && t("Create channel")}
          onAction={() => void openCreateChannel()}
        >
          {publicChannels.value.map((channel) => (
            <PublicLink key={channel.id} channel={channel} />
          ))}
          {channels.value && !publicChannels.value.length && <li class="none">{t("No channels yet")}</li>}
          {!channels.value && <Placeholders />}
        </Section>
        <Section
          title={t("Private conversations")}
          action={t("New private conversation")}
          onAction={() => void openNewConversation()}
        >
          {privateChannels.value.map((channel) => (
            <PrivateLink key={channel.id} channel={channel} />
          ))}
          {channels.value && !privateChannels.value.length && <li class="none">{t("Nobody yet")}</li>}
        </Section>
        {lostWithDraft.value.length > 0 && (
          <Section title={t("Gone, with unsent text")}>
            {lostWithDraft.value.map((channel) =>
              channel.type === "PUBLIC" ? (
                <PublicLink key={channel.id} channel={channel} />
              ) : (
                <PrivateLink key={channel.id} channel={channel} />
              ),
            )}
          </Section>
        )}
      </div>
      <UserPanel />
    </nav>
  );
}

function Section({
  title,
  action,
  onAction,
  children,
}: {
  title: string;
  action?: string | false;
  onAction?: () => void;
  children?: ComponentChildren;
}) {
  return (
    <section class="channel-section">
      <header>
        <h2>{title}</h2>
        {action && (
          <button type="button" class="icon-button" aria-label={action} title={action} onClick={onAction}>
            <PlusIcon />
          </button>
        )}
      </header>
      <ul>{children}</ul>
    </section>
  );
}

function PublicLink({ channel }: { channel: Channel }) {
  return (
    <li>
      <a
        class={`channel ${attention(channel)}`}
        href={channelLink(channel.id)}
        aria-current={isOpen(channel)}
        onClick={closeDrawer}
        aria-describedby={newsId(channel)}
      >
        <HashIcon />
        <span class="name">{channel.name}</span>
        <News channel={channel} />
      </a>
    </li>
  );
}

function PrivateLink({ channel }: { channel: Channel }) {
  const others = companions(channel);
  const alone = others.length === 1 && !channel.name;
  const title = channelTitle(channel);
  return (
    <li>
      <a
        class={`channel private ${attention(channel)}`}
        href={channelLink(channel.id)}
        aria-current={isOpen(channel)}
        onClick={closeDrawer}
        title={title}
        aria-describedby={newsId(channel)}
      >
        {alone ? (
          <Avatar user={others[0]} size="small" presence />
        ) : (
          <span class="avatar small several" aria-hidden="true">
            <PeopleIcon />
          </span>
        )}
        <span class="name">{title}</span>
        <News channel={channel} />
      </a>
    </li>
  );
}

const attention = (channel: Channel) =>
  unreadOf(channel).messages ? "unread" : levelOf(channel) === "NONE" ? "muted" : "";

/** The number of unread messages and mentions, as a description, so that the link's name stays the channel's. */
function News({ channel }: { channel: Channel }) {
  const { messages, mentions } = unreadOf(channel);
  if (!messages) return null;
  const words = [plural(messages, "{count} unread message", "{count} unread messages")];
  if (mentions) words.push(plural(mentions, "{count} mention", "{count} mentions"));
  return (
    <span id={newsId(channel)} class="news" aria-hidden="true" aria-label={words.join(", ")}>
      {mentions > 0 && <span class="bubble mention">@{shortCount(mentions)}</span>}
      <span class={levelOf(channel) === "ALL" ? "bubble" : "bubble quiet"}>{shortCount(messages)}</span>
    </span>
  );
}

const newsId = (channel: Channel) => `news-${channel.id}`;

const isOpen = (channel: Channel) => (openChannelId.value === channel.id ? "page" : undefined);

function Placeholders() {
  return [70, 45, 60].map((width) => (
    <li class="placeholder">
      <span style={{ width: `${width}%` }} />
    </li>
  ));
}

function askToSignOut() {
  const leave = () => signOut().catch(toastError);
  const count = pending.peek().filter(({ state }) => state !== "stored").length;
  if (!count) return void leave();
  openDialog(
    <Confirm
      title={plural(count, "A message has not been sent yet", "{count} messages have not been sent yet")}
      action={t("Sign out anyway")}
      onConfirm={leave}
    >
      <p class="lead">{t("If you sign out now, they are discarded.")}</p>
    </Confirm>,
  );
}

function UserPanel() {
  const user = self.value;
  if (!user) return null;
  return (
    <footer class="user-panel">
      <button type="button" class="own-profile" title={t("Your profile")} onClick={() => void openProfile()}>
        <Avatar user={{ ...user, online: true }} presence />
        <span class="who">
          <strong>{user.username}</strong>
          <span>{roleName(user.role)}</span>
        </span>
        <span class="unseen">, {t("your profile")}</span>
      </button>
      <button
        type="button"
        class="icon-button"
        aria-label={t("Settings")}
        title={t("Settings")}
        onClick={() => void openSettings()}
      >
        <SettingsIcon />
      </button>
      <button type="button" class="icon-button" aria-label={t("Sign out")} title={t("Sign out")} onClick={askToSignOut}>
        <SignOutIcon />
      </button>
    </footer>
  );
}
