// Dialogs of private conversations: a new one, its name, its people. Loaded when first opened.
import { useState } from "preact/hooks";
import * as api from "../api";
import { number, plural, t } from "../i18n";
import { goToChannel } from "../route";
import { me } from "../session";
import { findPrivateChannel, putChannel, refreshChannels } from "../state/channels";
import { membersByPresence } from "../state/people";
import { Avatar } from "./avatar";
import { closeDialog, Dialog, DialogActions } from "./dialog";
import { Field, FormError, useForm } from "./form";
import type { Channel, User } from "../types";

/** A private channel has at most 100 participants, including the user. */
const MAX_PARTICIPANTS = 100;
/** People in a list; the others are found by name. */
const MAX_SHOWN = 100;

/** `chosen`: ids of those already picked */
export function NewConversation({ chosen }: { chosen: string[] }) {
  const picks = usePicks(chosen);
  const { picked } = picks;
  const several = picked.size > 1;
  const form = useForm(async ({ name = "", history }, isShown) => {
    const others = [...picked];
    const named = several && name.trim() ? name.trim() : null;
    // A name makes it another conversation of the same people.
    const known = named ? undefined : findPrivateChannel(others);
    const options = { name: named, withHistory: several && history === "on" };
    const channel = known ?? (await api.createPrivateChannel([me.value?.id ?? "", ...others], options));
    if (!known) await refreshChannels();
    if (!isShown()) return;
    closeDialog();
    goToChannel(channel.id);
  });
  return (
    <Dialog title={t("New private conversation")}>
      <form onSubmit={form.onSubmit} onInput={form.clear}>
        <p class="lead">{t("Only the people you choose can see it.")}</p>
        <Picker picks={picks} without={new Set([me.value?.id ?? ""])} />
        {several && (
          <div class="group-fields">
            <Field
              label={t("Name")}
              name="name"
              maxlength={100}
              autocomplete="off"
              hint={t("May be left empty: then the names of its people are shown.")}
              fieldError={form.fieldErrors.name}
            />
            <label class="check">
              <input type="checkbox" name="history" />
              <span>{t("People who are added later can read everything from before")}</span>
            </label>
          </div>
        )}
        <FormError error={form.error} />
        <DialogActions disabled={form.busy || !picked.size || picked.size >= MAX_PARTICIPANTS} action={t("Start")}>
          <Count picked={picked} />
        </DialogActions>
      </form>
    </Dialog>
  );
}

export function RenameConversation({ channel }: { channel: Channel }) {
  const form = useForm(async ({ name }, isShown) => {
    putChannel(await api.renameChannel(channel.id, name.trim()));
    if (isShown()) closeDialog();
  });
  return (
    <Dialog title={t("Name of this conversation")}>
      <form onSubmit={form.onSubmit} onInput={form.clear}>
        <p class="lead">{t("Everybody in the conversation sees it.")}</p>
        <Field
          label={t("Name")}
          name="name"
          value={channel.name ?? ""}
          maxlength={100}
          required
          autofocus
          autocomplete="off"
          fieldError={form.fieldErrors.newName}
        />
        <FormError error={form.error} />
        <DialogActions disabled={form.busy} action={t("Save")} />
      </form>
    </Dialog>
  );
}

export function AddPeople({ channel }: { channel: Channel }) {
  const picks = usePicks([]);
  const { picked } = picks;
  const inside = new Set(channel.participants.map(({ id }) => id));
  const form = useForm(async (_values, isShown) => {
    try {
      for (const id of picked) {
        await api.addParticipant(channel.id, id);
        picks.toggle(id);
      }
    } finally {
      await refreshChannels();
    }
    if (isShown()) closeDialog();
  });
  return (
    <Dialog title={t("Add people")}>
      <form onSubmit={form.onSubmit} onInput={form.clear}>
        <p class="lead">
          {channel.withHistory
            ? t("They will be able to read everything from before.")
            : t("They will be able to read what is written from then on, and nothing from before.")}
        </p>
        <Picker picks={picks} without={inside} />
        <FormError error={form.error} />
        <DialogActions
          disabled={form.busy || !picked.size || picked.size + inside.size > MAX_PARTICIPANTS}
          action={form.busy ? t("Adding…") : t("Add")}
        >
          <Count picked={picked} />
        </DialogActions>
      </form>
    </Dialog>
  );
}

type Picks = { picked: Set<string>; toggle: (id: string) => void };

function usePicks(chosen: string[]): Picks {
  const [picked, setPicked] = useState(() => new Set(chosen));
  const toggle = (id: string) =>
    setPicked((before) => {
      const next = new Set(before);
      if (!next.delete(id)) next.add(id);
      return next;
    });
  return { picked, toggle };
}

/** `without`: ids of those who cannot be picked */
function Picker({ picks: { picked, toggle }, without }: { picks: Picks; without: Set<string> }) {
  const [query, setQuery] = useState("");
  const { online, offline, unknown } = membersByPresence.value;
  const wanted = query.trim().toLocaleLowerCase();
  const candidates = [...online, ...offline, ...unknown].filter((user) => !without.has(user.id));
  const found = candidates.filter((user) => user.username.toLocaleLowerCase().includes(wanted));
  const more = found.length - MAX_SHOWN;
  return (
    <>
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
        {found.slice(0, MAX_SHOWN).map((user) => (
          <Choice key={user.id} user={user} checked={picked.has(user.id)} onToggle={toggle} />
        ))}
        {more > 0 && (
          <li class="none">
            {plural(more, "{count} more person: find them by name", "{count} more people: find them by name")}
          </li>
        )}
        {!found.length && (
          <li class="none">{candidates.length ? t("Nobody by that name") : t("Nobody else is here yet")}</li>
        )}
      </ul>
    </>
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

const Count = ({ picked }: { picked: Set<string> }) => (
  <span class="apart count" role="status">
    {picked.size > 0 && t("{count} chosen", { count: number(picked.size) })}
  </span>
);
