// Actions on the open channel.
import { useId, useState } from "preact/hooks";
import { t } from "../i18n";
import { companions, isGroup } from "../state/channels";
import { notifies, refreshReadStatuses, setNotifies } from "../state/read-statuses";
import { hasRole } from "../state/people";
import { toastError } from "../state/toasts";
import { askToDelete, askToLeave, EditChannel } from "./channel-dialogs";
import { openDialog } from "./dialog";
import { EditIcon, MoreIcon, PeopleIcon, PlusIcon, SignOutIcon, TrashIcon } from "./icons";
import { openAddPeople, openNewConversation, openRename } from "./lazy-dialogs";
import { Popover } from "./popover";
import type { Channel } from "../types";

export function ChannelMenu({ channel }: { channel: Channel }) {
  // Another tab may have changed it, and no event reports that.
  const onOpen = () => void refreshReadStatuses().catch(toastError);
  return (
    <Popover
      label={t("Channel options")}
      heading={t("Channel options")}
      icon={<MoreIcon />}
      onOpen={onOpen}
      panel={(close: () => void) => <Panel channel={channel} close={close} />}
    />
  );
}

function Panel({ channel, close }: { channel: Channel; close: () => void }) {
  const manages = hasRole("CHANNEL_MANAGER");
  const others = companions(channel).map(({ id }) => id);
  return (
    <>
      <NotifySwitch channel={channel} />
      {(manages || channel.type === "PRIVATE") && <hr />}
      {manages && channel.type === "PUBLIC" && (
        <button
          type="button"
          class="menu-item"
          onClick={() => (close(), openDialog(<EditChannel channel={channel} />))}
        >
          <EditIcon /> {t("Edit channel")}
        </button>
      )}
      {isGroup(channel) && (
        <>
          <button type="button" class="menu-item" onClick={() => (close(), void openRename(channel))}>
            <EditIcon /> {t("Rename conversation")}
          </button>
          <button type="button" class="menu-item" onClick={() => (close(), void openAddPeople(channel))}>
            <PlusIcon /> {t("Add people")}
          </button>
        </>
      )}
      {channel.participants.length === 2 && (
        <button type="button" class="menu-item" onClick={() => (close(), void openNewConversation(others))}>
          <PeopleIcon /> {t("New conversation with more people")}
        </button>
      )}
      {channel.type === "PRIVATE" && (
        <button type="button" class="menu-item" onClick={() => (close(), askToLeave(channel))}>
          <SignOutIcon /> {t("Leave conversation")}
        </button>
      )}
      {manages && channel.type === "PRIVATE" && (
        <button type="button" class="menu-item danger-item" onClick={() => (close(), askToDelete(channel))}>
          <TrashIcon /> {t("Delete conversation")}
        </button>
      )}
    </>
  );
}

function NotifySwitch({ channel }: { channel: Channel }) {
  // The new value during the request.
  const [wanted, setWanted] = useState<boolean | null>(null);
  const id = useId();
  const on = wanted ?? notifies(channel);
  const toggle = async () => {
    if (wanted !== null) return;
    setWanted(!on);
    await setNotifies(channel, !on).catch(toastError);
    setWanted(null);
  };
  return (
    <button
      type="button"
      class="menu-item switch"
      role="switch"
      aria-checked={on}
      aria-busy={wanted !== null}
      aria-labelledby={id}
      onClick={toggle}
    >
      <span id={id}>{t("Notify me of new messages")}</span>
      <span class="track" aria-hidden="true" />
    </button>
  );
}
