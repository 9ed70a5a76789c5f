import { list, plural, t } from "../i18n";
import { me } from "../session";
import { people } from "../state/people";
import { isMine, react, toggleReaction } from "../state/reactions";
import { openEmojiPicker } from "./emoji";
import { SmileIcon } from "./icons";
import { useTabIndex } from "./row-focus";
import type { Message, Reaction } from "../types";

/** Names in a label; further users are counted. */
const MAX_NAMES = 12;

export function Reactions({ message }: { message: Message }) {
  const tabindex = useTabIndex();
  const { reactions = [] } = message;
  return (
    <ul class="reactions" aria-label={t("Reactions")}>
      {reactions.map((reaction) => {
        const names = namesOf(reaction);
        return (
          <li key={reaction.emoji}>
            <button
              type="button"
              class="reaction"
              tabindex={tabindex}
              aria-pressed={isMine(reaction)}
              aria-label={`${reaction.emoji} ${reaction.count}: ${names}`}
              title={names}
              onClick={() => toggleReaction(message, reaction.emoji)}
            >
              <span class="glyph">{reaction.emoji}</span>
              <span class="number">{reaction.count}</span>
            </button>
          </li>
        );
      })}
      <li>
        <ReactButton message={message} className="reaction more" />
      </li>
    </ul>
  );
}

/** Opens the picker. */
export function ReactButton({ message, className }: { message: Message; className: string }) {
  const { id, channelId } = message;
  return (
    <button
      type="button"
      class={className}
      tabindex={useTabIndex()}
      aria-label={t("Add a reaction")}
      title={t("React")}
      aria-haspopup="dialog"
      onClick={({ currentTarget }) => openEmojiPicker(currentTarget, (emoji) => react(id, channelId, emoji, true))}
    >
      <SmileIcon />
    </button>
  );
}

/** The reader first. */
function namesOf({ userIds, count }: Reaction) {
  const own = me.value?.id;
  const known = userIds.toSorted((a, b) => Number(b === own) - Number(a === own)).slice(0, MAX_NAMES);
  const names = known.map((id) => (id === own ? t("you") : (people.value?.get(id)?.username ?? t("Deleted user"))));
  const more = count - names.length;
  return list(more > 0 ? [...names, plural(more, "{count} more", "{count} more")] : names);
}
