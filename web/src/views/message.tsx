import { Component } from "preact";
import * as api from "../api";
import { list, t } from "../i18n";
import { me } from "../session";
import { current } from "../state/conversations";
import { setReply } from "../state/drafts";
import { startEditing } from "../state/editing";
import { withoutSpoilers } from "../state/markdown";
import { resend } from "../state/outbox";
import { removePending } from "../state/pending";
import { toastError } from "../state/toasts";
import { returnToDraft, sendWithoutLost } from "../state/unsent";
import { retryUpload } from "../state/uploads";
import { isOnlyEmoji } from "../text/emoji";
import { quoteOf } from "../text/quote";
import { exactTime, shortTime, timeOfDay } from "../text/time";
import { Attachments } from "./attachments";
import { Avatar } from "./avatar";
import { Confirm, openDialog } from "./dialog";
import { EditIcon, ReplyIcon, TrashIcon } from "./icons";
import { MessageEditor } from "./message-editor";
import { OutgoingFiles } from "./outgoing-files";
import { Quote } from "./quote";
import { ReactButton, Reactions } from "./reactions";
import { RichText } from "./rich-text";
import { useTabIndex } from "./row-focus";
import { focusComposer } from "./writing";
import type { Language } from "../i18n";
import type { Pending } from "../state/pending";
import type { Message, User } from "../types";
import type { Entry } from "./message-rows";

export interface Props {
  id: string;
  entry: Entry;
  /** The first of a run, with name and picture. */
  head: boolean;
  /** As known now. */
  author: User | null;
  own: boolean;
  /** Also messages of others. */
  mayDelete: boolean;
  editing: boolean;
  /** The reader has jumped to it. */
  aimed: boolean;
  /** With the buttons and times that are only seen on hover or focus. They are in the document soon after the row. */
  complete: boolean;
  /** So that a change renders the row. */
  language: Language;
}

/** One message. Each arrival and each scroll renders the list, so an unchanged row is skipped. */
export class MessageRow extends Component<Props> {
  override shouldComponentUpdate(next: Props) {
    const { entry, ...now } = this.props;
    return (
      entry.message !== next.entry.message ||
      entry.pending !== next.entry.pending ||
      Object.entries(now).some(([name, value]) => value !== (next as any)[name])
    );
  }

  override render() {
    const { id, entry, head, author, own, mayDelete, editing: beingEdited, aimed, complete } = this.props;
    const { message, pending, content, createdAt, attachments, replyTo } = entry;
    const mentions = message?.mentions ?? [];
    const channelId = message?.channelId ?? pending?.channelId ?? "";
    const edited = message && isEdited(message) ? message.updatedAt : null;
    const state = pending ? (pending.state === "failed" ? "failed" : "pending") : "";
    const name = author?.username ?? t("Deleted user");
    const byline = `by-${id}`;
    return (
      <article
        class={`message ${head ? "head" : ""} ${state} ${beingEdited ? "editing" : ""} ${aimed ? "aimed" : ""} ${
          mentions.includes(me.peek()?.id ?? "") ? "to-me" : ""
        }`}
        data-row={id}
        tabindex={-1}
        aria-labelledby={byline}
      >
        <div class="gutter">
          {head ? (
            <span data-person={author?.id}>
              <Avatar user={author} />
            </span>
          ) : (
            <time datetime={createdAt} title={complete ? exactTime(createdAt) : undefined} aria-hidden="true">
              {complete && shortTime(createdAt)}
            </time>
          )}
        </div>
        <div class="body">
          {replyTo && <Quote channelId={channelId} reply={replyTo} />}
          {head ? (
            <header id={byline}>
              <Author user={author} />{" "}
              <time datetime={createdAt} title={complete ? exactTime(createdAt) : undefined}>
                {timeOfDay(createdAt)}
              </time>
            </header>
          ) : (
            <span id={byline} class="unseen">
              {name} {timeOfDay(createdAt)}
            </span>
          )}
          {beingEdited && message ? (
            <MessageEditor message={message} />
          ) : (
            (content || edited) && <Text content={content} mentions={mentions} edited={edited} />
          )}
          {attachments.length > 0 && <Attachments files={attachments} />}
          {message !== null && (message.reactions?.length ?? 0) > 0 && <Reactions message={message} />}
          {pending !== null && pending.files.length > 0 && <OutgoingFiles pending={pending} />}
          {pending?.state === "failed" && <Failure pending={pending} />}
        </div>
        {message && !beingEdited && complete && <Tools message={message} own={own} mayDelete={own || mayDelete} />}
      </article>
    );
  }
}

function Author({ user }: { user: User | null }) {
  const tabindex = useTabIndex();
  if (!user) return <strong class="author nobody">{t("Deleted user")}</strong>;
  return (
    <button type="button" class="author" data-person={user.id} tabindex={tabindex} aria-haspopup="dialog">
      {user.username}
    </button>
  );
}

function Text({ content, mentions, edited }: { content: string; mentions: string[]; edited: string | null }) {
  return (
    <div class={isOnlyEmoji(content) ? "text emoji" : "text"} dir="auto">
      <RichText content={content} mentions={mentions} />
      {edited && (
        <span class="edited" title={exactTime(edited)}>
          {" "}
          {t("(edited)")}
        </span>
      )}
    </div>
  );
}

const isEdited = ({ createdAt, updatedAt }: Message) =>
  updatedAt !== null && Date.parse(updatedAt) > Date.parse(createdAt);

function Failure({ pending: { clientMessageId, channelId, content, files, reason, lost } }: { pending: Pending }) {
  const again = lost ? sendWithoutLost : files.length ? retryUpload : resend;
  // Without these files, there would be nothing to send.
  const empty = lost?.length === files.length && content === "";
  return (
    <p class="failure" role="alert">
      {t("Not sent.")} {reason}
      {!(lost && empty) && (
        <button type="button" class="link" onClick={() => again(clientMessageId)}>
          {lost ? t("Send without") : t("Retry")}
        </button>
      )}
      <button type="button" class="link" onClick={() => (returnToDraft(clientMessageId), focusComposer(channelId))}>
        {t("Edit")}
      </button>
      <button type="button" class="link" onClick={() => removePending(clientMessageId)}>
        {t("Discard")}
      </button>
    </p>
  );
}

/** Begins a reply. */
export function reply(message: Message) {
  setReply(message.channelId, quoteOf(message));
  focusComposer(message.channelId);
}

function Tools({ message, own, mayDelete }: { message: Message; own: boolean; mayDelete: boolean }) {
  const tabindex = useTabIndex();
  return (
    <div class="tools">
      <ReactButton message={message} className="icon-button" />
      <button
        type="button"
        class="icon-button"
        tabindex={tabindex}
        aria-label={t("Reply")}
        title={t("Reply")}
        onClick={() => reply(message)}
      >
        <ReplyIcon />
      </button>
      {own && (
        <button
          type="button"
          class="icon-button"
          tabindex={tabindex}
          aria-label={t("Edit message")}
          title={t("Edit")}
          onClick={() => startEditing(message)}
        >
          <EditIcon />
        </button>
      )}
      {mayDelete && (
        <button
          type="button"
          class="icon-button"
          tabindex={tabindex}
          aria-label={t("Delete message")}
          title={t("Delete")}
          onClick={() => askToDelete(message)}
        >
          <TrashIcon />
        </button>
      )}
    </div>
  );
}

export function askToDelete(message: Message) {
  const remove = () => api.deleteMessage(message.id).then(() => current.peek()?.remove(message.id), toastError);
  openDialog(
    <Confirm title={t("Delete this message?")} action={t("Delete")} onConfirm={remove}>
      {message.content && <blockquote class="quote">{withoutSpoilers(message.content)}</blockquote>}
      {(message.attachments?.length ?? 0) > 0 && (
        <p class="lead">
          {t("Its files go with it: {names}", {
            names: list((message.attachments ?? []).map((file) => file.fileName)),
          })}
        </p>
      )}
    </Confirm>,
  );
}
