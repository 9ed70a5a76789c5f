// The centre column: header, messages, composer.
import { channelTitle, openChannel } from "../state/channels.js";
import { drawer, membersBeside, openChannelsDrawer, toggleMembers } from "../state/drawers.js";
import { reopen } from "../state/conversations.js";
import { editing } from "../state/editing.js";
import { notifications } from "../state/notifications.js";
import { html, useEffect } from "../ui.js";
import { ChannelMenu } from "./channel-menu.js";
import { Composer } from "./composer.js";
import { HashIcon, LockIcon, MenuIcon, PeopleIcon } from "./icons.js";
import { MessageList } from "./message-list.js";
import { Bell } from "./notifications.js";
import { TypingLine } from "./typing-line.js";

/** @typedef {import("../types.js").Channel} Channel */

/** @param {{timeline: import("../state/timeline.js").Timeline}} props */
export function Conversation({ timeline }) {
  const channel = openChannel.value;
  const title = channel && channelTitle(channel);
  const news = notifications.value?.length ? `(${notifications.value.length}) ` : "";
  useEffect(() => {
    const place = channel ? `${channel.type === "PUBLIC" ? "#" : ""}${title} · ` : "";
    document.title = `${news}${place}Discodeit`;
    return () => void (document.title = "Discodeit");
  }, [title, news]);
  useEffect(() => () => void (editing.value = null), []);
  if (!channel || channel.id !== timeline.channelId) return null;
  return html`
    <${Header} channel=${channel} title=${title} />
    ${timeline.state.value === "ready" && html`<${MessageList} timeline=${timeline} channel=${channel} />`}
    ${timeline.state.value === "loading" && html`<${LoadingMessages} />`}
    ${timeline.state.value === "failed" && html`<${Failed} onRetry=${() => reopen(channel.id)} />`}
    <${TypingLine} channelId=${channel.id} />
    <${Composer} channel=${channel} ready=${timeline.state.value === "ready"} />
  `;
}

/** @param {{channel: Channel, title: string}} props */
function Header({ channel, title }) {
  const open = channel.type === "PUBLIC";
  return html`
    <header class="topbar">
      <button type="button" class="icon-button only-narrow" aria-label="Show channels" onClick=${openChannelsDrawer}>
        <${MenuIcon} />
      </button>
      <span class="kind">${open ? html`<${HashIcon} />` : html`<${LockIcon} />`}</span>
      <h1>${title}</h1>
      <p class="topic" title=${channel.description}>${channel.description}</p>
      <${ChannelMenu} channel=${channel} />
      <${Bell} className="only-narrow" />
      <button type="button" class="icon-button members-toggle" aria-label="Members" title="Members"
        aria-pressed=${membersBeside.value || drawer.value === "members"} onClick=${toggleMembers}>
        <${PeopleIcon} />
      </button>
    </header>
  `;
}

function LoadingMessages() {
  return html`
    <div class="messages loading" aria-busy="true" aria-label="Loading messages">
      ${[62, 38, 74, 51].map(
        (width) => html`
          <div class="ghost">
            <span class="face"></span>
            <span class="lines"><i style=${{ width: "18%" }}></i><i style=${{ width: `${width}%` }}></i></span>
          </div>
        `,
      )}
    </div>
  `;
}

/** @param {{onRetry: () => void}} props */
function Failed({ onRetry }) {
  return html`
    <div class="empty">
      <h2>The messages could not be loaded</h2>
      <button type="button" class="primary" onClick=${onRetry}>Try again</button>
    </div>
  `;
}
