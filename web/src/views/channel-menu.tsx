// Actions on the open channel.
import { t } from "../i18n";
import { companions, isGroup } from "../state/channels";
import { levelOf, refreshReadStatuses, setLevel } from "../state/read-statuses";
import { hasRole } from "../state/people";
import { toastError } from "../state/toasts";
import { CalendarIcon, EditIcon, MoreIcon, PeopleIcon, PlusIcon, SignOutIcon, TrashIcon } from "./icons";
import {
  askToDeleteChannel,
  askToLeave,
  openAddPeople,
  openEditChannel,
  openJumpToDay,
  openNewConversation,
  openRename,
} from "./lazy-dialogs";
import { Popover } from "./popover";
import type { PlainSentence } from "../i18n";
import type { Channel, NotificationLevel } from "../types";

const LEVELS: [NotificationLevel, PlainSentence][] = [
  ["ALL", "All messages"],
  ["MENTIONS", "Mentions and replies"],
  ["NONE", "Nothing"],
];

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
      <Levels channel={channel} />
      <hr />
      <button type="button" class="menu-item" onClick={() => (close(), void openJumpToDay())}>
        <CalendarIcon /> {t("Jump to a date")}
      </button>
      {manages && channel.type === "PUBLIC" && (
        <button type="button" class="menu-item" onClick={() => (close(), void openEditChannel(channel))}>
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
        <button type="button" class="menu-item" onClick={() => (close(), void askToLeave(channel))}>
          <SignOutIcon /> {t("Leave conversation")}
        </button>
      )}
      {manages && channel.type === "PRIVATE" && (
        <button type="button" class="menu-item danger-item" onClick={() => (close(), void askToDeleteChannel(channel))}>
          <TrashIcon /> {t("Delete conversation")}
        </button>
      )}
    </>
  );
}

function Levels({ channel }: { channel: Channel }) {
  const chosen = levelOf(channel);
  return (
    <fieldset class="levels">
      <legend>{t("Notify me of")}</legend>
      {LEVELS.map(([level, name]) => (
        <label key={level} class="menu-item">
          <input
            type="radio"
            name="level"
            checked={chosen === level}
            onChange={() => void setLevel(channel, level).catch(toastError)}
          />
          {t(name)}
        </label>
      ))}
    </fieldset>
  );
}
