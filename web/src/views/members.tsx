import { useState } from "preact/hooks";
import { number, t } from "../i18n";
import { me } from "../session";
import { openChannel } from "../state/channels";
import { closeDrawer } from "../state/drawers";
import { membersByPresence, people } from "../state/people";
import { Avatar } from "./avatar";
import { CloseIcon } from "./icons";
import { roleName } from "../text/role";
import type { User } from "../types";
import { ShowMore } from "./show-more";

/** People of a group that are shown at first, and more at each press of the button. Thousands take seconds to show. */
const PAGE = 200;

/** The readers of the open channel: all users, or the participants of a private channel. */
export function Members() {
  const channel = openChannel.value;
  const inside = channel?.type === "PRIVATE" ? new Set(channel.participants.map((user) => user.id)) : null;
  const here = (user: User) => !inside || inside.has(user.id);
  const { online, offline, unknown } = membersByPresence.value;
  return (
    <aside class="members" aria-label={t("Members")}>
      <header>
        <h2>{t("Members")}</h2>
        <button type="button" class="icon-button" aria-label={t("Close members")} onClick={closeDrawer}>
          <CloseIcon />
        </button>
      </header>
      {people.value === null && <p class="none">{t("Loading…")}</p>}
      <Group title={t("Online")} users={online.filter(here)} />
      <Group title={t("Offline")} users={offline.filter(here)} />
      <Group title={t("Everybody")} users={unknown.filter(here)} />
    </aside>
  );
}

function Group({ title, users }: { title: string; users: User[] }) {
  const [most, setMost] = useState(PAGE);
  if (!users.length) return null;
  return (
    <section>
      <h3>
        {title} — {number(users.length)}
      </h3>
      <ul>
        {users.slice(0, most).map((user) => (
          <Member key={user.id} user={user} />
        ))}
        {users.length > most && <ShowMore onClick={() => setMost(most + PAGE)} />}
      </ul>
    </section>
  );
}

function Member({ user }: { user: User }) {
  const isSelf = user.id === me.value?.id;
  const inside = (
    <>
      <Avatar user={user} presence />
      <span class="name">
        {user.username}
        {isSelf && <span class="you"> {t("(you)")}</span>}
      </span>
      {user.role !== "USER" && (
        <span class={`badge ${user.role.toLowerCase()}`} title={roleName(user.role)}>
          {badge(user)}
        </span>
      )}
    </>
  );
  return (
    <li>
      <button
        type="button"
        class={user.online === false ? "member away" : "member"}
        data-person={user.id}
        aria-haspopup="dialog"
      >
        {inside}
      </button>
    </li>
  );
}

const badge = (user: User) => (user.role === "ADMIN" ? t("Admin") : t("Manager"));
