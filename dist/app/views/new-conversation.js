import * as api from "../api.js";
import { goToChannel } from "../route.js";
import { me } from "../session.js";
import { findPrivateChannel, refreshChannels } from "../state/channels.js";
import { membersByPresence } from "../state/people.js";
import { html, useState } from "../ui.js";
import { Avatar } from "./avatar.js";
import { closeDialog, Dialog } from "./dialog.js";
import { FormError, useForm } from "./form.js";

/** @typedef {import("../types.js").User} User */

/** A private channel has at most 100 participants, including the user. */
const MAX_OTHERS = 99;

/** @param {{chosen?: string[]}} props ids of those already picked */
export function NewConversation({ chosen = [] }) {
  const [picked, setPicked] = useState(() => new Set(chosen));
  const [query, setQuery] = useState("");
  const form = useForm(async (_values, isShown) => {
    const others = [...picked];
    const known = findPrivateChannel(others);
    const channel = known ?? (await api.createPrivateChannel([me.value?.id ?? "", ...others]));
    if (!known) await refreshChannels();
    if (!isShown()) return;
    closeDialog();
    goToChannel(channel.id);
  });

  const { online, offline, unknown } = membersByPresence.value;
  const wanted = query.trim().toLocaleLowerCase();
  const candidates = [...online, ...offline, ...unknown].filter(
    (user) => user.id !== me.value?.id && user.username.toLocaleLowerCase().includes(wanted),
  );
  /** @param {string} id */
  const toggle = (id) => {
    const next = new Set(picked);
    if (!next.delete(id)) next.add(id);
    setPicked(next);
    form.clear();
  };

  return html`
    <${Dialog} title="New private conversation">
      <form onSubmit=${form.onSubmit}>
        <p class="lead">Only the people you choose can see it.</p>
        <input type="search" class="search" placeholder="Find people" aria-label="Find people" data-autofocus
          value=${query} onInput=${(/** @type {any} */ event) => setQuery(event.target.value)}
          onKeyDown=${(/** @type {KeyboardEvent} */ event) => event.key === "Enter" && event.preventDefault()} />
        <ul class="picker">
          ${candidates.map((user) => html`<${Choice} key=${user.id} user=${user} checked=${picked.has(user.id)} onToggle=${toggle} />`)}
          ${!candidates.length && html`<li class="none">${wanted ? "Nobody by that name" : "Nobody else is here yet"}</li>`}
        </ul>
        <${FormError} error=${form.error} />
        <div class="dialog-actions">
          <span class="apart count">${picked.size ? `${picked.size} chosen` : ""}</span>
          <button type="button" class="quiet" onClick=${closeDialog}>Cancel</button>
          <button class="primary" disabled=${form.busy || !picked.size || picked.size > MAX_OTHERS}>Start</button>
        </div>
      </form>
    <//>
  `;
}

/** @param {{user: User, checked: boolean, onToggle: (id: string) => void}} props */
function Choice({ user, checked, onToggle }) {
  return html`
    <li>
      <label>
        <input type="checkbox" checked=${checked} onChange=${() => onToggle(user.id)} />
        <${Avatar} user=${user} size="small" presence />
        <span class="name">${user.username}</span>
      </label>
    </li>
  `;
}
