// The bell and the list of notifications.
import { useEffect, useRef, useState } from "preact/hooks";
import { now as serverNow } from "../clock";
import { channelLink } from "../route";
import { channels } from "../state/channels";
import { closeDrawer } from "../state/drawers";
import { dismiss, notifications, refreshNotifications } from "../state/notifications";
import { toastError } from "../state/toasts";
import { ago, exactTime } from "../text/time";
import { BellIcon, ChatIcon, CloseIcon, ShieldIcon, WarningIcon } from "./icons";
import { Popover } from "./popover";
import { roleName } from "../text/role";
import type { Notification } from "../types";

const MINUTE_MS = 60_000;
/** Further ones appear when earlier ones are dismissed. */
const MAX_SHOWN = 100;

const KINDS = {
  NEW_MESSAGE: { icon: ChatIcon, name: "New message" },
  ROLE_CHANGED: { icon: ShieldIcon, name: "Your role" },
  ASYNC_FAILED: { icon: WarningIcon, name: "Something failed" },
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
      label={count ? `Notifications (${count})` : "Notifications"}
      icon={icon}
      heading="Notifications"
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
        <h2>Notifications</h2>
        {all !== null && all.length > 0 && (
          <button type="button" class="link" onClick={removeAll}>
            Dismiss all
          </button>
        )}
      </header>
      {all === null && <p class="none">Loading…</p>}
      {all?.length === 0 && (
        <div class="nothing">
          <span class="emblem">
            <BellIcon />
          </span>
          <p>Nothing new.</p>
          <p class="note">
            Private conversations tell you of new messages here, and any channel whose options you set so.
          </p>
        </div>
      )}
      {all !== null && all.length > 0 && (
        <ul ref={list} class="notifications">
          {all.slice(0, MAX_SHOWN).map((each) => (
            <Row key={each.id} notification={each} now={now} onOpen={close} onDismiss={remove} />
          ))}
          {all.length > MAX_SHOWN && <li class="none">And {all.length - MAX_SHOWN} older ones</li>}
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
  const { type, title, content, createdAt, targetId } = notification;
  const { icon: Icon, name } = KINDS[type] ?? KINDS.ASYNC_FAILED;
  const there = type === "NEW_MESSAGE" && channels.value?.some((channel) => channel.id === targetId);
  const open = () => {
    onOpen();
    closeDrawer();
  };
  const inside = (
    <>
      <span class="kind" title={name}>
        <Icon />
      </span>
      <span class="what">
        <strong>
          <span class="unseen">{name}: </span>
          {title}
        </strong>
        <span class="excerpt" dir="auto">
          {type === "ROLE_CHANGED" ? withRoleNames(content) : content}
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
        aria-label={`Dismiss: ${title}`}
        title="Dismiss"
        onClick={() => onDismiss(notification)}
      >
        <CloseIcon />
      </button>
    </li>
  );
}

/** Replaces role identifiers by their display names. */
const withRoleNames = (content: string) =>
  content.replace(/\b(?:USER|CHANNEL_MANAGER|ADMIN)\b/g, (role) => roleName(role as any));

/** Announces new notifications to screen readers, one sentence each; none for the first list. */
export function Announcer() {
  const newest = notifications.value?.[0] ?? null;
  const known = useRef<string | null | undefined>(undefined);
  const [text, setText] = useState("");
  useEffect(() => {
    if (notifications.value === null) return;
    const at = newest?.createdAt ?? "";
    if (known.current !== undefined && at > (known.current ?? "")) setText(`Notification: ${newest?.title}`);
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
