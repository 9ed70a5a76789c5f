import { useState } from "preact/hooks";
import * as api from "../api";
import { t } from "../i18n";
import { goToChannel } from "../route";
import { me } from "../session";
import { findPrivateChannel, refreshChannels } from "../state/channels";
import { membersByPresence } from "../state/people";
import { Avatar } from "./avatar";
import { closeDialog, Dialog } from "./dialog";
import { FormError, useForm } from "./form";
import type { User } from "../types";

/** A private channel has at most 100 participants, including the user. */
const MAX_OTHERS = 99;

/** `chosen`: ids of those already picked */
export function NewConversation({ chosen = [] }: { chosen?: string[] }) {
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
  const toggle = (id: string) => {
    const next = new Set(picked);
    if (!next.delete(id)) next.add(id);
    setPicked(next);
    form.clear();
  };

  return (
    <Dialog title={t("New private conversation")}>
      <form onSubmit={form.onSubmit}>
        <p class="lead">{t("Only the people you choose can see it.")}</p>
        <input
          type="search"
          class="search"
          placeholder={t("Find people")}
          aria-label={t("Find people")}
          data-autofocus
          value={query}
          onInput={(event: any) => setQuery(event.target.value)}
          onKeyDown={(event: KeyboardEvent) => event.key === "Enter" && event.preventDefault()}
        />
        <ul class="picker">
          {candidates.map((user) => (
            <Choice key={user.id} user={user} checked={picked.has(user.id)} onToggle={toggle} />
          ))}
          {!candidates.length && (
            <li class="none">{wanted ? t("Nobody by that name") : t("Nobody else is here yet")}</li>
          )}
        </ul>
        <FormError error={form.error} />
        <div class="dialog-actions">
          <span class="apart count">{picked.size ? t("{count} chosen", { count: picked.size }) : ""}</span>
          <button type="button" class="quiet" onClick={closeDialog}>
            {t("Cancel")}
          </button>
          <button class="primary" disabled={form.busy || !picked.size || picked.size > MAX_OTHERS}>
            {t("Start")}
          </button>
        </div>
      </form>
    </Dialog>
  );
}

function Choice({ user, checked, onToggle }: { user: User; checked: boolean; onToggle: (id: string) => void }) {
  return (
    <li>
      <label>
        <input type="checkbox" checked={checked} onChange={() => onToggle(user.id)} />
        <Avatar user={user} size="small" presence />
        <span class="name">{user.username}</span>
      </label>
    </li>
  );
}
