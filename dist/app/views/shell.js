// The frame of the signed-in app: channels, the conversation, members.
import { connection } from "../live/stomp.js";
import { openChannelId } from "../route.js";
import { channels } from "../state/channels.js";
import { current } from "../state/conversations.js";
import { closeDrawer, drawer, membersBeside } from "../state/drawers.js";
import { html, useEffect, useState } from "../ui.js";
import { Conversation } from "./conversation.js";
import { closeDialog, DialogHost } from "./dialog.js";
import { Nowhere } from "./empty.js";
import { Lost } from "./lost.js";
import { Members } from "./members.js";
import { Announcer } from "./notifications.js";
import { Sidebar } from "./sidebar.js";

/** Shorter interruptions are not shown. */
const UNNOTICED_MS = 1_200;

export function Shell() {
  useDrawerKeys();
  useEffect(() => closeDialog, []);
  const timeline = current.value;
  const lost = !timeline && channels.value !== null ? openChannelId.value : null;
  const beside = membersBeside.value ? "with-members" : "";
  return html`
    <div class=${`shell ${beside}`} data-drawer=${drawer.value ?? "none"}>
      <${Sidebar} />
      <main class="centre">
        <${ConnectionBar} />
        ${timeline && html`<${Conversation} key=${timeline.channelId} timeline=${timeline} />`}
        ${lost && html`<${Lost} key=${lost} channelId=${lost} />`}
        ${!timeline && !lost && html`<${Nowhere} loading=${channels.value === null} />`}
      </main>
      <${Members} />
      <div class="drawer-shade" onClick=${closeDrawer}></div>
      <${DialogHost} />
      <${Announcer} />
    </div>
  `;
}

/** Opening a drawer moves the focus into it; Escape closes it and returns the focus. */
function useDrawerKeys() {
  const open = drawer.value;
  useEffect(() => {
    if (!open) return;
    const before = document.activeElement;
    const panel = document.querySelector(open === "channels" ? ".sidebar" : ".members");
    /** @type {HTMLElement | null | undefined} */ (panel?.querySelector("a, button"))?.focus({ preventScroll: true });
    /** @param {KeyboardEvent} event */
    const onKey = (event) => {
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

function ConnectionBar() {
  const [shown, setShown] = useState(false);
  const away = connection.value !== "on" && connection.value !== "off";
  useEffect(() => {
    if (!away) return setShown(false);
    const timer = setTimeout(() => setShown(true), UNNOTICED_MS);
    return () => clearTimeout(timer);
  }, [away]);
  return html`
    <div class="connection" role="status">
      ${shown && away && html`<p><span class="spinner"></span>${connection.value === "lost" ? "Reconnecting…" : "Connecting…"}</p>`}
    </div>
  `;
}
