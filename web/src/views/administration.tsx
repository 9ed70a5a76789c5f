// Administration: the people of the server, their roles, the deletion of accounts. Loaded when first opened.
import { useEffect, useId, useRef, useState } from "preact/hooks";
import * as api from "../api";
import { ApiError } from "../http";
import { plural, t } from "../i18n";
import { me } from "../session";
import { dropPerson, people, peopleByName, putPerson } from "../state/people";
import { toast } from "../state/toasts";
import { roleName } from "../text/role";
import { Avatar } from "./avatar";
import { Dialog } from "./dialog";
import { FormError, useForm } from "./form";
import { BackIcon } from "./icons";
import type { Role, User } from "../types";
import { ShowMore } from "./show-more";

/** People that a list shows at first, and more at each press of the button. */
const PAGE = 50;

const ROLES = {
  USER: "Reads and writes in public channels and in private conversations.",
  CHANNEL_MANAGER: "Also creates, changes and deletes channels, and removes people from private conversations.",
  ADMIN: "Also gives roles, and deletes accounts and the messages of others.",
} as const;

/** `userId`: whose page is open at first */
export function Administration({ userId }: { userId?: string }) {
  const [chosen, setChosen] = useState(userId);
  const [query, setQuery] = useState("");
  const user = people.value?.get(chosen ?? "");
  return (
    <Dialog title={t("Administration")}>
      {user ? (
        <Person key={user.id} user={user} onBack={() => setChosen(undefined)} />
      ) : (
        <PeopleList query={query} onQuery={setQuery} onChoice={setChosen} />
      )}
    </Dialog>
  );
}

function PeopleList({
  query,
  onQuery,
  onChoice,
}: {
  query: string;
  onQuery: (query: string) => void;
  onChoice: (id: string) => void;
}) {
  const [most, setMost] = useState(PAGE);
  const search = useFocusOnMount<HTMLInputElement>();
  const wanted = query.trim().toLocaleLowerCase();
  const found = peopleByName.value.filter(({ username, email }) =>
    [username, email].some((text) => text.toLocaleLowerCase().includes(wanted)),
  );
  return (
    <>
      <input
        ref={search}
        type="search"
        class="search"
        placeholder={t("Find people by name or email")}
        aria-label={t("Find people by name or email")}
        value={query}
        onInput={({ currentTarget }) => {
          onQuery(currentTarget.value);
          setMost(PAGE);
        }}
      />
      <p class="note count" role="status">
        {plural(found.length, "{count} person", "{count} people")}
      </p>
      <ul class="people-list">
        {found.slice(0, most).map((user) => (
          <li key={user.id}>
            <button type="button" onClick={() => onChoice(user.id)}>
              <Avatar user={user} size="small" presence />
              <span class="who">
                <strong>{user.username}</strong>
                <span>{user.email}</span>
              </span>
              {user.role !== "USER" && <span class={`badge ${user.role.toLowerCase()}`}>{roleName(user.role)}</span>}
            </button>
          </li>
        ))}
        {found.length > most && <ShowMore onClick={() => setMost(most + PAGE)} />}
        {!found.length && <li class="none">{t("Nobody by that name")}</li>}
      </ul>
    </>
  );
}

function Person({ user, onBack }: { user: User; onBack: () => void }) {
  const back = useFocusOnMount<HTMLButtonElement>();
  const own = user.id === me.value?.id;
  return (
    <>
      <button ref={back} type="button" class="link back-link" onClick={onBack}>
        <BackIcon /> {t("All people")}
      </button>
      <div class="person">
        <Avatar user={user} size="large" presence />
        <span class="who">
          <strong>{user.username}</strong>
          <span>{user.email}</span>
        </span>
      </div>
      <RoleForm user={user} own={own} />
      {!own && <Deletion user={user} onDone={onBack} />}
    </>
  );
}

function RoleForm({ user, own }: { user: User; own: boolean }) {
  const [role, setRole] = useState(user.role);
  const id = useId();
  const form = useForm(async () => {
    putPerson(await api.setRole(user.id, role));
    if (!own) toast(t("The role of {name} is now: {role}.", { name: user.username, role: roleName(role) }));
  });
  return (
    <form class="roles" onSubmit={form.onSubmit}>
      <fieldset>
        <legend>{t("Role")}</legend>
        {(Object.keys(ROLES) as Role[]).map((each) => (
          <label key={each} class="check">
            <input
              type="radio"
              name="role"
              value={each}
              checked={role === each}
              aria-describedby={`${id}-${each}`}
              onChange={() => (form.clear(), setRole(each))}
            />
            <span>
              <strong>{roleName(each)}</strong>
              <span id={`${id}-${each}`} class="note">
                {t(ROLES[each])}
              </span>
            </span>
          </label>
        ))}
      </fieldset>
      <Refusal error={form.error} />
      {role !== user.role && (
        <div class="row">
          <p class="note">
            {own
              ? t("A new role signs you out everywhere.")
              : t("A new role signs {name} out everywhere.", { name: user.username })}
          </p>
          <button type="button" class="quiet" onClick={() => (form.clear(), setRole(user.role))}>
            {t("Cancel")}
          </button>
          <button class="primary" disabled={form.busy}>
            {t("Change role")}
          </button>
        </div>
      )}
    </form>
  );
}

function Deletion({ user, onDone }: { user: User; onDone: () => void }) {
  const [asked, setAsked] = useState(false);
  const form = useForm(async () => {
    await api.deleteUser(user.id);
    toast(t("The account of {name} has been deleted.", { name: user.username }));
    onDone();
    dropPerson(user.id);
  });
  if (!asked) {
    return (
      <button type="button" class="danger quiet" onClick={() => setAsked(true)}>
        {t("Delete account")}
      </button>
    );
  }
  return (
    <form class="deletion" onSubmit={form.onSubmit}>
      <p>
        {t("Delete the account of {name}? The messages stay, without the name.", { name: user.username })}{" "}
        {t("This cannot be undone.")}
      </p>
      <Refusal error={form.error} />
      <div class="row">
        <CancelButton onCancel={() => setAsked(false)} />
        <button class="danger" disabled={form.busy}>
          {t("Delete account")}
        </button>
      </div>
    </form>
  );
}

/** Takes the focus, because the button that was pressed has disappeared, and shows the whole question. */
function CancelButton({ onCancel }: { onCancel: () => void }) {
  const ref = useFocusOnMount<HTMLButtonElement>();
  useEffect(() => ref.current?.closest("form")?.scrollIntoView({ block: "nearest" }), []);
  return (
    <button ref={ref} type="button" class="quiet" onClick={onCancel}>
      {t("Cancel")}
    </button>
  );
}

function Refusal({ error }: { error: Error | null }) {
  const last = error instanceof ApiError && error.code === "LAST_ADMIN";
  return (
    <>
      <FormError error={error} />
      {last && <p class="note">{t("First make somebody else an administrator.")}</p>}
    </>
  );
}

function useFocusOnMount<Target extends HTMLElement>() {
  const ref = useRef<Target>(null);
  useEffect(() => ref.current?.focus({ preventScroll: true }), []);
  return ref;
}
