// The bell and the list of notifications.
import { channelLink } from "../route.js";
import { channels } from "../state/channels.js";
import { closeDrawer } from "../state/drawers.js";
import { dismiss, notifications, refreshNotifications } from "../state/notifications.js";
import { toastError } from "../state/toasts.js";
import { ago, exactTime } from "../text/time.js";
import { html, useEffect, useRef, useState } from "../ui.js";
import { BellIcon, ChatIcon, CloseIcon, ShieldIcon, WarningIcon } from "./icons.js";
import { Popover } from "./popover.js";
import { roleName } from "./role.js";

/** @typedef {import("../types.js").Notification} Notification */

const MINUTE_MS = 60_000;
/** Further ones appear when earlier ones are dismissed. */
const MAX_SHOWN = 100;

const KINDS = {
  NEW_MESSAGE: { icon: ChatIcon, name: "New message" },
  ROLE_CHANGED: { icon: ShieldIcon, name: "Your role" },
  ASYNC_FAILED: { icon: WarningIcon, name: "Something failed" },
};

/** @param {{className?: string}} props */
export function Bell({ className = "" }) {
  const count = notifications.value?.length ?? 0;
  const icon = html`<${BellIcon} />${count > 0 && html`<span class="bubble" aria-hidden="true">${shortCount(count)}</span>`}`;
  return html`
    <${Popover} className=${`bell ${className}`} label=${count ? `Notifications (${count})` : "Notifications"} icon=${icon}
      heading="Notifications" onOpen=${tryAgain} panel=${(/** @type {() => void} */ close) => html`<${Panel} close=${close} />`} />
  `;
}

/** Opening the panel retries a failed read. */
function tryAgain() {
  if (notifications.peek() === null) void refreshNotifications().catch(toastError);
}

/** @param {number} count */
export const shortCount = (count) => (count > 99 ? "99+" : String(count));

/** @param {{close: () => void}} props */
function Panel({ close }) {
  const all = notifications.value;
  const now = useNow();
  const list = useRef(/** @type {HTMLUListElement | null} */ (null));
  /** Moves the focus to the next row before the button disappears. @param {Notification} notification */
  const remove = (notification) => {
    const rows = [...(list.current?.children ?? [])];
    const row = rows.findIndex((each) => each.contains(document.activeElement));
    const next = rows[row + 1] ?? rows[row - 1] ?? list.current?.closest("[popover]");
    const button = next?.querySelector?.(".dismiss") ?? next;
    dismiss([notification]);
    if (row >= 0) /** @type {HTMLElement | undefined} */ (button)?.focus();
  };
  const removeAll = () => {
    /** @type {HTMLElement | null | undefined} */ (list.current?.closest("[popover]"))?.focus();
    dismiss(all ?? []);
  };
  return html`
    <header class="popover-head">
      <h2>Notifications</h2>
      ${all !== null && all.length > 0 && html`<button type="button" class="link" onClick=${removeAll}>Dismiss all</button>`}
    </header>
    ${all === null && html`<p class="none">Loading…</p>`}
    ${all?.length === 0 &&
    html`<div class="nothing">
      <span class="emblem"><${BellIcon} /></span>
      <p>Nothing new.</p>
      <p class="note">Private conversations tell you of new messages here, and any channel whose options you set so.</p>
    </div>`}
    ${all !== null &&
    all.length > 0 &&
    html`<ul ref=${list} class="notifications">
      ${all.slice(0, MAX_SHOWN).map(
        (each) => html`<${Row} key=${each.id} notification=${each} now=${now} onOpen=${close} onDismiss=${remove} />`,
      )}
      ${all.length > MAX_SHOWN && html`<li class="none">And ${all.length - MAX_SHOWN} older ones</li>`}
    </ul>`}
  `;
}

/**
 * @param {{notification: Notification, now: number, onOpen: () => void, onDismiss: (which: Notification) => void}} props
 */
function Row({ notification, now, onOpen, onDismiss }) {
  const { type, title, content, createdAt, targetId } = notification;
  const { icon: Icon, name } = KINDS[type] ?? KINDS.ASYNC_FAILED;
  const there = type === "NEW_MESSAGE" && channels.value?.some((channel) => channel.id === targetId);
  const open = () => {
    onOpen();
    closeDrawer();
  };
  const inside = html`
    <span class="kind" title=${name}><${Icon} /></span>
    <span class="what">
      <strong><span class="unseen">${name}: </span>${title}</strong>
      <span class="excerpt" dir="auto">${type === "ROLE_CHANGED" ? withRoleNames(content) : content}</span>
      <time datetime=${createdAt} title=${exactTime(createdAt)}>${ago(createdAt, now)}</time>
    </span>
  `;
  return html`
    <li class=${`notification ${type === "ASYNC_FAILED" ? "failed" : ""}`}>
      ${there ? html`<a href=${channelLink(targetId ?? "")} onClick=${open}>${inside}</a>` : html`<div>${inside}</div>`}
      <button type="button" class="icon-button dismiss" aria-label=${`Dismiss: ${title}`} title="Dismiss"
        onClick=${() => onDismiss(notification)}>
        <${CloseIcon} />
      </button>
    </li>
  `;
}

/** Replaces role identifiers by their display names. @param {string} content */
const withRoleNames = (content) =>
  content.replace(/\b(?:USER|CHANNEL_MANAGER|ADMIN)\b/g, (role) => roleName(/** @type {any} */ (role)));

/** Announces new notifications to screen readers, one sentence each; none for the first list. */
export function Announcer() {
  const newest = notifications.value?.[0] ?? null;
  const known = useRef(/** @type {string | null | undefined} */ (undefined));
  const [text, setText] = useState("");
  useEffect(() => {
    if (notifications.value === null) return;
    const at = newest?.createdAt ?? "";
    if (known.current !== undefined && at > (known.current ?? "")) setText(`Notification: ${newest?.title}`);
    known.current = known.current && known.current > at ? known.current : at;
  }, [newest, notifications.value === null]);
  return html`<div class="unseen" role="status">${text}</div>`;
}

function useNow() {
  const [now, setNow] = useState(Date.now());
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), MINUTE_MS);
    return () => clearInterval(timer);
  }, []);
  return Math.max(now, Date.now());
}
