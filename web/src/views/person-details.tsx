// What the card of a person says and offers. Loaded when first opened.
import * as api from "../api";
import { t } from "../i18n";
import { goToChannel } from "../route";
import { me } from "../session";
import { findPrivateChannel, isGroup, openChannel, refreshChannels } from "../state/channels";
import { closeDrawer } from "../state/drawers";
import { hasRole, people } from "../state/people";
import { toastError } from "../state/toasts";
import { roleName } from "../text/role";
import { Avatar } from "./avatar";
import { Confirm, openDialog } from "./dialog";
import { ChatIcon, EditIcon, ShieldIcon, TrashIcon } from "./icons";
import { openAdministration, openNewConversation, openProfile } from "./lazy-dialogs";
import type { ComponentChild } from "preact";
import type { Channel, User } from "../types";

export function PersonDetails({ userId, close }: { userId: string; close: () => void }) {
  const user = people.value?.get(userId);
  const channel = openChannel.value;
  if (!user) return <p class="none">{t("This account is gone.")}</p>;
  const own = userId === me.value?.id;
  const removable =
    !own &&
    hasRole("CHANNEL_MANAGER") &&
    channel?.type === "PRIVATE" &&
    channel.participants.some(({ id }) => id === userId);
  const item = (icon: ComponentChild, text: string, work: () => unknown, dangerous = false) => (
    <button
      type="button"
      class={dangerous ? "menu-item danger-item" : "menu-item"}
      onClick={() => {
        close();
        work();
      }}
    >
      {icon} {text}
    </button>
  );
  return (
    <>
      <div class="person">
        <Avatar user={user} size="large" presence />
        <span class="who">
          <strong>{user.username}</strong>
          <span>{roleName(user.role)}</span>
          {user.online !== null && <span>{user.online ? t("Online") : t("Offline")}</span>}
        </span>
      </div>
      <hr />
      {own && item(<EditIcon />, t("Your profile"), openProfile)}
      {!own && item(<ChatIcon />, t("Message"), () => talkTo(user))}
      {!own && hasRole("ADMIN") && item(<ShieldIcon />, t("Role and account"), () => openAdministration(userId))}
      {removable && item(<TrashIcon />, t("Remove from this conversation"), () => askToRemove(user, channel), true)}
    </>
  );
}

/** Opens the conversation with a user; a new one needs a confirmation. */
function talkTo(user: User) {
  const known = findPrivateChannel([user.id]);
  closeDrawer();
  if (known) goToChannel(known.id);
  else void openNewConversation([user.id]);
}

function askToRemove({ id, username: name }: User, channel: Channel) {
  const remove = () => api.removeParticipant(channel.id, id).then(refreshChannels).catch(toastError);
  openDialog(
    <Confirm title={t("Remove {name} from this conversation?", { name })} action={t("Remove")} onConfirm={remove}>
      <p class="lead">
        {isGroup(channel)
          ? t("{name} will not see its messages any more, unless somebody in it adds them again.", { name })
          : t("{name} will not see its messages any more, and nobody can let them in again.", { name })}
      </p>
    </Confirm>,
  );
}
