// The left column: the server, its channels, private conversations, and the user.
import { channelLink, openChannelId } from "../route.js";
import { signOut } from "../session.js";
import { channels, channelTitle, companions, privateChannels, publicChannels } from "../state/channels.js";
import { closeDrawer } from "../state/drawers.js";
import { lostWithDraft } from "../state/lost.js";
import { countByChannel } from "../state/notifications.js";
import { hasRole, self } from "../state/people.js";
import { toastError } from "../state/toasts.js";
import { html } from "../ui.js";
import { Avatar } from "./avatar.js";
import { CreateChannel } from "./channel-dialogs.js";
import { openDialog } from "./dialog.js";
import { HashIcon, Logo, PeopleIcon, PlusIcon, SignOutIcon } from "./icons.js";
import { NewConversation } from "./new-conversation.js";
import { Bell, shortCount } from "./notifications.js";
import { Profile } from "./profile.js";
import { roleName } from "./role.js";

/** @typedef {import("../types.js").Channel} Channel */

export function Sidebar() {
  return html`
    <nav class="sidebar" aria-label="Channels">
      <header class="server">
        <${Logo} />
        <div class="place">
          <strong>Discodeit</strong>
          <span>${location.host}</span>
        </div>
        <${Bell} />
      </header>
      <div class="sidebar-lists">
        <${Section}
          title="Channels"
          action=${hasRole("CHANNEL_MANAGER") && "Create channel"}
          onAction=${() => openDialog(html`<${CreateChannel} />`)}
        >
          ${publicChannels.value.map((channel) => html`<${PublicLink} key=${channel.id} channel=${channel} />`)}
          ${channels.value && !publicChannels.value.length && html`<li class="none">No channels yet</li>`}
          ${!channels.value && html`<${Placeholders} />`}
        <//>
        <${Section}
          title="Private conversations"
          action="New private conversation"
          onAction=${() => openDialog(html`<${NewConversation} />`)}
        >
          ${privateChannels.value.map((channel) => html`<${PrivateLink} key=${channel.id} channel=${channel} />`)}
          ${channels.value && !privateChannels.value.length && html`<li class="none">Nobody yet</li>`}
        <//>
        ${lostWithDraft.value.length > 0 &&
        html`<${Section} title="Gone, with unsent text">
          ${lostWithDraft.value.map((channel) =>
            channel.type === "PUBLIC"
              ? html`<${PublicLink} key=${channel.id} channel=${channel} />`
              : html`<${PrivateLink} key=${channel.id} channel=${channel} />`,
          )}
        <//>`}
      </div>
      <${UserPanel} />
    </nav>
  `;
}

/** @param {{title: string, action?: string | false, onAction?: () => void, children?: unknown}} props */
function Section({ title, action, onAction, children }) {
  return html`
    <section class="channel-section">
      <header>
        <h2>${title}</h2>
        ${action &&
        html`<button type="button" class="icon-button" aria-label=${action} title=${action} onClick=${onAction}>
          <${PlusIcon} />
        </button>`}
      </header>
      <ul>${children}</ul>
    </section>
  `;
}

/** @param {{channel: Channel}} props */
function PublicLink({ channel }) {
  return html`
    <li>
      <a class="channel" href=${channelLink(channel.id)} aria-current=${isOpen(channel)} onClick=${closeDrawer}
        aria-describedby=${newsId(channel)}>
        <${HashIcon} /><span class="name">${channel.name}</span>
        <${News} channel=${channel} />
      </a>
    </li>
  `;
}

/** @param {{channel: Channel}} props */
function PrivateLink({ channel }) {
  const others = companions(channel);
  const title = channelTitle(channel);
  return html`
    <li>
      <a class="channel private" href=${channelLink(channel.id)} aria-current=${isOpen(channel)} onClick=${closeDrawer}
        title=${title} aria-describedby=${newsId(channel)}>
        ${others.length === 1 && html`<${Avatar} user=${others[0]} size="small" presence />`}
        ${others.length !== 1 && html`<span class="avatar small several" aria-hidden="true"><${PeopleIcon} /></span>`}
        <span class="name">${title}</span>
        <${News} channel=${channel} />
      </a>
    </li>
  `;
}

/**
 * The number of notifications about a channel, as a description, so that the link's name stays the channel's.
 *
 * @param {{channel: Channel}} props
 */
function News({ channel }) {
  const count = countByChannel.value.get(channel.id);
  if (!count) return null;
  const words = `${count} new ${count === 1 ? "notification" : "notifications"}`;
  return html`<span id=${newsId(channel)} class="bubble" aria-hidden="true" aria-label=${words}>${shortCount(count)}</span>`;
}

/** @param {Channel} channel */
const newsId = (channel) => `news-${channel.id}`;

/** @param {Channel} channel */
const isOpen = (channel) => (openChannelId.value === channel.id ? "page" : undefined);

function Placeholders() {
  return [70, 45, 60].map((width) => html`<li class="placeholder"><span style=${{ width: `${width}%` }}></span></li>`);
}

function UserPanel() {
  const user = self.value;
  if (!user) return null;
  return html`
    <footer class="user-panel">
      <button type="button" class="own-profile" title="Your profile" onClick=${() => openDialog(html`<${Profile} />`)}>
        <${Avatar} user=${{ ...user, online: true }} presence />
        <span class="who">
          <strong>${user.username}</strong>
          <span>${roleName(user.role)}</span>
        </span>
        <span class="unseen">, your profile</span>
      </button>
      <button type="button" class="icon-button" aria-label="Sign out" title="Sign out"
        onClick=${() => signOut().catch(toastError)}>
        <${SignOutIcon} />
      </button>
    </footer>
  `;
}
