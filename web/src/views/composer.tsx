import { useRef, useState } from "preact/hooks";
import { takeFocus } from "../focus";
import { elements, number, t } from "../i18n";
import { me } from "../session";
import { channelTitle, companions } from "../state/channels";
import { current } from "../state/conversations";
import { addFiles, clearDraft, draftOf, earlierId, setReply, setText } from "../state/drafts";
import { startEditing } from "../state/editing";
import { send } from "../state/outbox";
import { authorOf } from "../state/people";
import { sendTyping } from "../state/typing";
import { upload } from "../state/uploads";
import { DropZone } from "./drop-zone";
import { openEmojiPicker } from "./emoji";
import { AttachIcon, CloseIcon, ReplyIcon, SendIcon, SmileIcon } from "./icons";
import { useMentions } from "./mention-list";
import { oneLine } from "./quote";
import { filesOf } from "./transfer";
import { Tray } from "./tray";
import { Counter, focusComposer, lengthOf, MAX_LENGTH, trimmed, WritingArea } from "./writing";
import type { Channel, Reply } from "../types";

const finePointer = matchMedia("(pointer: fine)");

/** Writes to one channel only: another channel has another composer. */
export function Composer({ channel, ready }: { channel: Channel; ready: boolean }) {
  const [focus] = useState(takeFocus);
  const { text, files, refused, replyTo } = draftOf(channel.id);
  const area = useRef<HTMLTextAreaElement | null>(null);
  const name = `${channel.type === "PUBLIC" ? "#" : ""}${channelTitle(channel)}`;
  const alone = channel.type === "PRIVATE" && companions(channel).length === 0;
  const label = alone ? t("Message to yourself: nobody else is here") : t("Message {name}", { name });
  const content = trimmed(text);
  const length = lengthOf(content);
  const sendable = ready && (content !== "" || files.length > 0) && length <= MAX_LENGTH;

  const onText = (next: string) => {
    setText(channel.id, next);
    if (trimmed(next)) sendTyping(channel.id);
  };
  const onFiles = (more: File[], folders: string[] = []) => {
    addFiles(channel.id, more, folders);
    focusComposer(channel.id);
  };
  const toFile = () => {
    addFiles(channel.id, [new File([content], "message.txt", { type: "text/plain" })]);
    // Not taken when there are too many files already.
    if (draftOf(channel.id).refused === null) setText(channel.id, "");
    focusComposer(channel.id);
  };
  const submit = () => {
    if (!sendable) return;
    const id = earlierId(channel.id, content);
    if (files.length) upload(channel.id, content, files, replyTo, id);
    else send(channel.id, content, replyTo, id);
    clearDraft(channel.id);
  };
  const onPaste = (event: ClipboardEvent) => {
    const { files, folders } = filesOf(event.clipboardData);
    if (!(files.length || folders.length) || isDrawnText(files, event.clipboardData)) return;
    event.preventDefault();
    onFiles(files, folders);
  };

  const completion = useMentions(area, channel, onText);
  const endReply = () => {
    setReply(channel.id, null);
    focusComposer(channel.id);
  };
  const insert = (emoji: string) => {
    const field = area.current as HTMLTextAreaElement;
    field.setRangeText(emoji, field.selectionStart, field.selectionEnd, "end");
    onText(field.value);
    field.focus({ preventScroll: true });
  };

  return (
    <form
      class="composer"
      data-channel={channel.id}
      onPaste={onPaste}
      onSubmit={(event: Event) => (event.preventDefault(), submit())}
    >
      <DropZone into={name} onFiles={onFiles} />
      <div role="alert">
        {refused && <p class="refused">{refused}</p>}
        {length > MAX_LENGTH && (
          <p class="refused">
            {t("The message is too long: it can have {count} characters at most.", { count: number(MAX_LENGTH) })}{" "}
            <button type="button" class="link" onClick={toFile}>
              {t("Attach it as a file")}
            </button>
          </p>
        )}
      </div>
      <div class={length > MAX_LENGTH ? "composer-box over" : "composer-box"}>
        {completion.list}
        {replyTo && <ReplyLine reply={replyTo} onCancel={endReply} />}
        {files.length > 0 && <Tray channelId={channel.id} files={files} onEmpty={() => focusComposer(channel.id)} />}
        <div class="composer-row">
          <AttachButton onFiles={onFiles} />
          <WritingArea
            label={label}
            placeholder={label}
            text={text}
            onText={onText}
            onSubmit={submit}
            onUp={editLastOwn}
            onEscape={replyTo ? endReply : undefined}
            area={area}
            completion={completion}
            focus={focus && finePointer.matches ? channel.id : undefined}
          />
          <Counter length={length} />
          <button
            type="button"
            class="attach"
            aria-label={t("Insert an emoji")}
            title={t("Emoji")}
            aria-haspopup="dialog"
            onClick={({ currentTarget }) => openEmojiPicker(currentTarget, insert)}
          >
            <SmileIcon />
          </button>
          <button class="send" aria-label={t("Send")} title={t("Send")} disabled={!sendable}>
            <SendIcon />
          </button>
        </div>
      </div>
    </form>
  );
}

function ReplyLine({ reply, onCancel }: { reply: Reply; onCancel: () => void }) {
  const name = authorOf(reply.author)?.username ?? t("Deleted user");
  return (
    <div class="reply-line">
      <ReplyIcon />
      <p>
        {elements("Reply to {name}:", { name: <b>{name}</b> })} <span dir="auto">{oneLine(reply.excerpt)}</span>
      </p>
      <button
        type="button"
        class="icon-button"
        aria-label={t("Cancel the reply")}
        title={t("Cancel")}
        onClick={onCancel}
      >
        <CloseIcon />
      </button>
    </div>
  );
}

function AttachButton({ onFiles }: { onFiles: (files: File[]) => void }) {
  const input = useRef<HTMLInputElement | null>(null);
  const onChange = ({ target }: any) => {
    const chosen = [...target.files];
    // Lets the user choose the same file again.
    target.value = "";
    if (chosen.length) onFiles(chosen);
  };
  return (
    <>
      <button
        type="button"
        class="attach"
        aria-label={t("Attach files")}
        title={t("Attach files")}
        onClick={() => input.current?.click()}
      >
        <AttachIcon />
      </button>
      <input ref={input} type="file" multiple hidden onChange={onChange} />
    </>
  );
}

/** Office programs add a picture of the copied text; text takes precedence. */
function isDrawnText(files: File[], clipboard: DataTransfer | null) {
  const drawn = files.every((file) => file.type.startsWith("image/") && /^image\.\w+$/.test(file.name));
  return drawn && Boolean(clipboard?.getData("text/plain").trim());
}

function editLastOwn() {
  const own = current
    .peek()
    ?.messages.peek()
    .findLast((message) => message.author?.id === me.peek()?.id);
  if (own) startEditing(own, true);
}
