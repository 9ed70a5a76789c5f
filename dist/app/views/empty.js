// Placeholders for empty views.
import { channelTitle } from "../state/channels.js";
import { openChannelsDrawer } from "../state/drawers.js";
import { hasRole } from "../state/people.js";
import { html } from "../ui.js";
import { CreateChannel } from "./channel-dialogs.js";
import { openDialog } from "./dialog.js";
import { ChatIcon, HashIcon, LockIcon, MenuIcon } from "./icons.js";
import { NewConversation } from "./new-conversation.js";
import { Bell } from "./notifications.js";

/** A header without actions on a channel. @param {{title?: string}} props */
export function Topbar({ title = "" }) {
  return html`
    <header class="topbar">
      <button type="button" class="icon-button only-narrow" aria-label="Show channels" onClick=${openChannelsDrawer}>
        <${MenuIcon} />
      </button>
      ${title !== "" && html`<h1>${title}</h1>`}
      <${Bell} className="only-narrow" />
    </header>
  `;
}

/** Shown without an open channel. @param {{loading: boolean}} props */
export function Nowhere({ loading }) {
  const mayCreate = hasRole("CHANNEL_MANAGER");
  return html`
    <${Topbar} />
    <div class="empty">
      ${!loading &&
      html`
        <span class="emblem"><${ChatIcon} /></span>
        <h1>No channels yet</h1>
        <p>
          ${mayCreate
            ? "Create the first channel, and everybody here will see it."
            : "A channel manager has to create the first one. Until then you can talk in private."}
        </p>
        <div class="row">
          ${mayCreate &&
          html`<button type="button" class="primary" onClick=${() => openDialog(html`<${CreateChannel} />`)}>Create a channel</button>`}
          <button type="button" class=${mayCreate ? "quiet" : "primary"} onClick=${() => openDialog(html`<${NewConversation} />`)}>
            Start a private conversation
          </button>
        </div>
      `}
    </div>
  `;
}

/** The head of every channel. @param {{channel: import("../types.js").Channel, any: boolean}} props */
export function Beginning({ channel, any }) {
  const title = channelTitle(channel);
  const open = channel.type === "PUBLIC";
  return html`
    <div class="beginning">
      <span class="emblem">${open ? html`<${HashIcon} />` : html`<${LockIcon} />`}</span>
      <h2>${open ? `Welcome to #${title}` : title}</h2>
      <p>
        ${open && (channel.description || "This is where the channel begins.")}
        ${!open && `Only you and ${title} can read this conversation.`}
        ${!any && " No messages yet: write the first one."}
      </p>
    </div>
  `;
}
