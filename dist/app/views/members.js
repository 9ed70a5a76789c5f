import { goToChannel } from "../route.js";
import { me } from "../session.js";
import { findPrivateChannel, openChannel } from "../state/channels.js";
import { closeDrawer } from "../state/drawers.js";
import { membersByPresence, people } from "../state/people.js";
import { html } from "../ui.js";
import { Avatar } from "./avatar.js";
import { openDialog } from "./dialog.js";
import { CloseIcon } from "./icons.js";
import { NewConversation } from "./new-conversation.js";
import { roleName } from "./role.js";

/** @typedef {import("../types.js").User} User */

/** The readers of the open channel: all users, or the participants of a private channel. */
export function Members() {
  const channel = openChannel.value;
  const inside = channel?.type === "PRIVATE" ? new Set(channel.participants.map((user) => user.id)) : null;
  /** @param {User} user */
  const here = (user) => !inside || inside.has(user.id);
  const { online, offline, unknown } = membersByPresence.value;
  return html`
    <aside class="members" aria-label="Members">
      <header>
        <h2>Members</h2>
        <button type="button" class="icon-button" aria-label="Close members" onClick=${closeDrawer}><${CloseIcon} /></button>
      </header>
      ${people.value === null && html`<p class="none">Loading…</p>`}
      <${Group} title="Online" users=${online.filter(here)} />
      <${Group} title="Offline" users=${offline.filter(here)} />
      <${Group} title="Everybody" users=${unknown.filter(here)} />
    </aside>
  `;
}

/** @param {{title: string, users: User[]}} props */
function Group({ title, users }) {
  if (!users.length) return null;
  return html`
    <section>
      <h3>${title} — ${users.length}</h3>
      <ul>${users.map((user) => html`<${Member} key=${user.id} user=${user} />`)}</ul>
    </section>
  `;
}

/** @param {{user: User}} props */
function Member({ user }) {
  const isSelf = user.id === me.value?.id;
  const inside = html`
    <${Avatar} user=${user} presence />
    <span class="name">${user.username}${isSelf && html`<span class="you"> (you)</span>`}</span>
    ${user.role !== "USER" && html`<span class=${`badge ${user.role.toLowerCase()}`} title=${roleName(user.role)}>${badge(user)}</span>`}
  `;
  const className = user.online === false ? "member away" : "member";
  return html`
    <li>
      ${isSelf && html`<div class=${className}>${inside}</div>`}
      ${!isSelf &&
      html`<button type="button" class=${className} title=${`Message ${user.username}`} onClick=${() => talkTo(user)}>
        ${inside}
      </button>`}
    </li>
  `;
}

/** @param {User} user */
const badge = (user) => (user.role === "ADMIN" ? "Admin" : "Manager");

/** Opens the conversation with a user; a new one needs a confirmation. @param {User} user */
function talkTo(user) {
  const known = findPrivateChannel([user.id]);
  if (known) return goToChannel(known.id);
  closeDrawer();
  openDialog(html`<${NewConversation} key=${user.id} chosen=${[user.id]} />`);
}
