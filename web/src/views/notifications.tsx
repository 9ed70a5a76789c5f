// The bell and the list of notifications.
import { useEffect, useRef, useState } from "preact/hooks";
import { now as serverNow } from "../clock";
import { t } from "../i18n";
import { channelLink } from "../route";
import { channels } from "../state/channels";
import { closeDrawer } from "../state/drawers";
import { withoutSpoilers } from "../state/markdown";
import { dismiss, notifications, refreshNotifications } from "../state/notifications";
import { toastError } from "../state/toasts";
import { ago, exactTime } from "../text/time";
import { BellIcon, ChatIcon, CloseIcon, ShieldIcon, WarningIcon } from "./icons";
import { Popover } from "./popover";
import { roleName } from "../text/role";
import type { Notification, Role } from "../types";

const MINUTE_MS = 60_000;
/** Further ones appear when earlier ones are dismissed. */
const MAX_SHOWN = 100;

const KINDS = {
  NEW_MESSAGE: { icon: ChatIcon, name: "New message" as const },
  ROLE_CHANGED: { icon: ShieldIcon, name: "Your role" as const },
  ASYNC_FAILED: { icon: WarningIcon, name: "Something failed" as const },
};

export function Bell({ className = "" }: { className?: string }) {
  const count = notifications.value?.length ?? 0;
  const icon = (
    <>
      <BellIcon />
      {count > 0 && (
        <span class="bubble" aria-hidden="true">
          {shortCount(count)}
        </span>
      )}
    </>
  );
  return (
    <Popover
      className={`bell ${className}`}
      label={count ? t("Notifications: {count}", { count }) : t("Notifications")}
      icon={icon}
      heading={t("Notifications")}
      onOpen={tryAgain}
      panel={(close: () => void) => <Panel close={close} />}
    />
  );
}

/** Opening the panel retries a failed read. */
function tryAgain() {
  if (notifications.peek() === null) void refreshNotifications().catch(toastError);
}

export const shortCount = (count: number) => (count > 99 ? "99+" : String(count));

function Panel({ close }: { close: () => void }) {
  const all = notifications.value;
  const now = useNow();
  const list = useRef<HTMLUListElement | null>(null);
  /** Moves the focus to the next row before the button disappears. */
  const remove = (notification: Notification) => {
    const rows = [...(list.current?.children ?? [])];
    const row = rows.findIndex((each) => each.contains(document.activeElement));
    const next = rows[row + 1] ?? rows[row - 1] ?? list.current?.closest("[popover]");
    const button = next?.querySelector?.(".dismiss") ?? next;
    dismiss([notification]);
    if (row >= 0) (button as HTMLElement | undefined)?.focus();
  };
  const removeAll = () => {
    (list.current?.closest("[popover]") as HTMLElement | null | undefined)?.focus();
    dismiss(all ?? []);
  };
  return (
    <>
      <header class="popover-head">
        <h2>{t("Notifications")}</h2>
        {all !== null && all.length > 0 && (
          <button type="button" class="link" onClick={removeAll}>
            {t("Dismiss all")}
          </button>
        )}
      </header>
      {all === null && <p class="none">{t("Loading…")}</p>}
      {all?.length === 0 && (
        <div class="nothing">
          <span class="emblem">
            <BellIcon />
          </span>
          <p>{t("Nothing new.")}</p>
          <p class="note">
            {t("Private conversations tell you of new messages here, and any channel whose options you set so.")}
          </p>
        </div>
      )}
      {all !== null && all.length > 0 && (
        <ul ref={list} class="notifications">
          {all.slice(0, MAX_SHOWN).map((each) => (
            <Row key={each.id} notification={each} now={now} onOpen={close} onDismiss={remove} />
          ))}
          {all.length > MAX_SHOWN && (
            <li class="none">{t("And {count} older ones", { count: all.length - MAX_SHOWN })}</li>
          )}
        </ul>
      )}
    </>
  );
}

function Row({
  notification,
  now,
  onOpen,
  onDismiss,
}: {
  notification: Notification;
  now: number;
  onOpen: () => void;
  onDismiss: (which: Notification) => void;
}) {
  const { type, createdAt, targetId } = notification;
  const title = titleOf(notification);
  const { icon: Icon, name } = KINDS[type] ?? KINDS.ASYNC_FAILED;
  const there = type === "NEW_MESSAGE" && channels.value?.some((channel) => channel.id === targetId);
  const open = () => {
    onOpen();
    closeDrawer();
  };
  const inside = (
    <>
      <span class="kind" title={t(name)}>
        <Icon />
      </span>
      <span class="what">
        <strong>
          <span class="unseen">{t(name)}: </span>
          {title}
        </strong>
        <span class="excerpt" dir="auto">
          {contentOf(notification)}
        </span>
        <time datetime={createdAt} title={exactTime(createdAt)}>
          {ago(createdAt, now)}
        </time>
      </span>
    </>
  );
  return (
    <li class={`notification ${type === "ASYNC_FAILED" ? "failed" : ""}`}>
      {there ? (
        <a href={channelLink(targetId ?? "")} onClick={open}>
          {inside}
        </a>
      ) : (
        <div>{inside}</div>
      )}
      <button
        type="button"
        class="icon-button dismiss"
        aria-label={t("Dismiss: {title}", { title })}
        title={t("Dismiss")}
        onClick={() => onDismiss(notification)}
      >
        <CloseIcon />
      </button>
    </li>
  );
}

/** The title of a message is its author and channel. The others are sentences of the server, in English. */
function titleOf({ type, title }: Notification) {
  if (type === "ROLE_CHANGED") return t("Your role has changed");
  return type === "ASYNC_FAILED" ? t("A file could not be stored") : title;
}

function contentOf({ type, content }: Notification) {
  if (type === "NEW_MESSAGE") return withoutSpoilers(content);
  if (type === "ROLE_CHANGED")
    return content.replace(/\b(?:USER|CHANNEL_MANAGER|ADMIN)\b/g, (role) => roleName(role as Role));
  const [, name] = (type === "ASYNC_FAILED" && /^“(.*)” was not stored/s.exec(content)) || [];
  return name === undefined ? content : t("“{name}” was not stored. Please send it again.", { name });
}

/** Announces new notifications to screen readers, one sentence each; none for the first list. */
export function Announcer() {
  const newest = notifications.value?.[0] ?? null;
  const known = useRef<string | null | undefined>(undefined);
  const [text, setText] = useState("");
  useEffect(() => {
    if (notifications.value === null) return;
    const at = newest?.createdAt ?? "";
    if (known.current !== undefined && at > (known.current ?? ""))
      setText(t("Notification: {title}", { title: newest ? titleOf(newest) : "" }));
    known.current = known.current && known.current > at ? known.current : at;
  }, [newest, notifications.value === null]);
  return (
    <div class="unseen" role="status">
      {text}
    </div>
  );
}

function useNow() {
  const [now, setNow] = useState(serverNow());
  useEffect(() => {
    const timer = setInterval(() => setNow(serverNow()), MINUTE_MS);
    return () => clearInterval(timer);
  }, []);
  return Math.max(now, serverNow());
}
