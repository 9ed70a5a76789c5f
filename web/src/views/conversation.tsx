// The centre column: header, messages, composer.
import { useEffect } from "preact/hooks";
import { t } from "../i18n";
import { channelTitle, companionNames, openChannel } from "../state/channels";
import { drawer, membersBeside, openChannelsDrawer, searchOpen, toggleMembers } from "../state/drawers";
import { reopen } from "../state/conversations";
import { editing } from "../state/editing";
import { notifications } from "../state/notifications";
import { ChannelMenu } from "./channel-menu";
import { Composer } from "./composer";
import { HashIcon, LockIcon, MenuIcon, PeopleIcon, SearchIcon } from "./icons";
import { MessageList } from "./message-list";
import { Bell } from "./notifications";
import { TypingLine } from "./typing-line";
import { toggleSearch } from "./search-host";
import type { Timeline } from "../state/timeline";
import type { Channel } from "../types";

export function Conversation({ timeline }: { timeline: Timeline }) {
  const channel = openChannel.value;
  const title = channel ? channelTitle(channel) : null;
  const news = notifications.value?.length ? `(${notifications.value.length}) ` : "";
  useEffect(() => {
    const place = channel ? `${channel.type === "PUBLIC" ? "#" : ""}${title} · ` : "";
    document.title = `${news}${place}Discodeit`;
    return () => void (document.title = "Discodeit");
  }, [title, news]);
  useEffect(() => () => void (editing.value = null), []);
  if (!channel || title === null || channel.id !== timeline.channelId) return null;
  const state = timeline.state.value;
  return (
    <>
      <Header channel={channel} title={title} />
      {state === "ready" && <MessageList key={timeline.jumps.value} timeline={timeline} channel={channel} />}
      {state === "loading" && <LoadingMessages />}
      {state === "failed" && <Failed onRetry={() => reopen(channel.id)} />}
      <TypingLine channelId={channel.id} />
      <Composer channel={channel} ready={state === "ready"} />
    </>
  );
}

function Header({ channel, title }: { channel: Channel; title: string }) {
  const open = channel.type === "PUBLIC";
  // The name of a conversation does not say who is in it.
  const topic = (open ? channel.description : channel.name && companionNames(channel)) ?? undefined;
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
      <span class="kind">{open ? <HashIcon /> : <LockIcon />}</span>
      <h1>{title}</h1>
      <p class="topic" title={topic}>
        {topic}
      </p>
      <button
        type="button"
        class="icon-button"
        aria-label={t("Search messages")}
        title={t("Search messages")}
        aria-pressed={searchOpen.value}
        onClick={toggleSearch}
      >
        <SearchIcon />
      </button>
      <ChannelMenu channel={channel} />
      <Bell className="only-narrow" />
      <button
        type="button"
        class="icon-button members-toggle"
        aria-label={t("Members")}
        title={t("Members")}
        aria-pressed={(membersBeside.value && !searchOpen.value) || drawer.value === "members"}
        onClick={toggleMembers}
      >
        <PeopleIcon />
      </button>
    </header>
  );
}

function LoadingMessages() {
  return (
    <div class="messages loading" aria-busy="true" aria-label={t("Loading messages")}>
      {[62, 38, 74, 51].map((width) => (
        <div class="ghost">
          <span class="face" />
          <span class="lines">
            <i style={{ width: "18%" }} />
            <i style={{ width: `${width}%` }} />
          </span>
        </div>
      ))}
    </div>
  );
}

function Failed({ onRetry }: { onRetry: () => void }) {
  return (
    <div class="empty">
      <h2>{t("The messages could not be loaded")}</h2>
      <button type="button" class="primary" onClick={onRetry}>
        {t("Try again")}
      </button>
    </div>
  );
}
