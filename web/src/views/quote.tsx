// The line that shows the message to which another one replies.
import { t } from "../i18n";
import { goToMessage } from "../route";
import { withoutSpoilers } from "../state/markdown";
import { authorOf } from "../state/people";
import { Avatar } from "./avatar";
import { ReplyIcon } from "./icons";
import { useTabIndex } from "./row-focus";
import type { Reply } from "../types";

export function Quote({ channelId, reply }: { channelId: string; reply: Reply }) {
  const tabindex = useTabIndex();
  if (reply.deleted) {
    return (
      <p class="quoted gone">
        <ReplyIcon />
        {t("The original message was deleted.")}
      </p>
    );
  }
  const author = authorOf(reply.author);
  return (
    <button
      type="button"
      class="quoted"
      tabindex={tabindex}
      title={t("Show the original message")}
      onClick={() => goToMessage(channelId, reply.seq)}
    >
      <ReplyIcon />
      <span class="unseen">{t("Reply to")} </span>
      <Avatar user={author} size="tiny" />
      <b>{author?.username ?? t("Deleted user")}</b>{" "}
      <span class="excerpt" dir="auto">
        {oneLine(reply.excerpt)}
      </span>
    </button>
  );
}

/** The excerpt of a message in one line. */
export const oneLine = (excerpt: string | null) => withoutSpoilers(excerpt ?? "").replaceAll("\n", " ");
