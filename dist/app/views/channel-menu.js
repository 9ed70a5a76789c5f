// Actions on the open channel.
import { notifies, refreshReadStatuses, setNotifies } from "../state/read-statuses.js";
import { hasRole } from "../state/people.js";
import { toastError } from "../state/toasts.js";
import { html, useId, useState } from "../ui.js";
import { askToDelete, askToLeave, EditChannel } from "./channel-dialogs.js";
import { openDialog } from "./dialog.js";
import { EditIcon, MoreIcon, SignOutIcon, TrashIcon } from "./icons.js";
import { Popover } from "./popover.js";

/** @typedef {import("../types.js").Channel} Channel */

/** @param {{channel: Channel}} props */
export function ChannelMenu({ channel }) {
  // Another tab may have changed it, and no event reports that.
  const onOpen = () => void refreshReadStatuses().catch(toastError);
  return html`
    <${Popover} label="Channel options" heading="Channel options" icon=${html`<${MoreIcon} />`} onOpen=${onOpen}
      panel=${(/** @type {() => void} */ close) => html`<${Panel} channel=${channel} close=${close} />`} />
  `;
}

/** @param {{channel: Channel, close: () => void}} props */
function Panel({ channel, close }) {
  const manages = hasRole("CHANNEL_MANAGER");
  return html`
    <${NotifySwitch} channel=${channel} />
    ${(manages || channel.type === "PRIVATE") && html`<hr />`}
    ${manages &&
    channel.type === "PUBLIC" &&
    html`<button type="button" class="menu-item"
      onClick=${() => (close(), openDialog(html`<${EditChannel} channel=${channel} />`))}>
      <${EditIcon} /> Edit channel
    </button>`}
    ${channel.type === "PRIVATE" &&
    html`<button type="button" class="menu-item" onClick=${() => (close(), askToLeave(channel))}>
      <${SignOutIcon} /> Leave conversation
    </button>`}
    ${manages &&
    channel.type === "PRIVATE" &&
    html`<button type="button" class="menu-item danger-item" onClick=${() => (close(), askToDelete(channel))}>
      <${TrashIcon} /> Delete conversation
    </button>`}
  `;
}

/** @param {{channel: Channel}} props */
function NotifySwitch({ channel }) {
  // The new value during the request.
  const [wanted, setWanted] = useState(/** @type {boolean | null} */ (null));
  const id = useId();
  const on = wanted ?? notifies(channel);
  const toggle = async () => {
    if (wanted !== null) return;
    setWanted(!on);
    await setNotifies(channel, !on).catch(toastError);
    setWanted(null);
  };
  return html`
    <button type="button" class="menu-item switch" role="switch" aria-checked=${on} aria-busy=${wanted !== null}
      aria-labelledby=${id} onClick=${toggle}>
      <span id=${id}>Notify me of new messages</span>
      <span class="track" aria-hidden="true"></span>
    </button>
  `;
}
