import { takeFocus } from "../focus.js";
import { me } from "../session.js";
import { channelTitle } from "../state/channels.js";
import { current } from "../state/conversations.js";
import { addFiles, clearDraft, draftOf, refuseFiles, setText } from "../state/drafts.js";
import { startEditing } from "../state/editing.js";
import { send } from "../state/outbox.js";
import { sendTyping } from "../state/typing.js";
import { upload } from "../state/uploads.js";
import { html, useRef, useState } from "../ui.js";
import { DropZone } from "./drop-zone.js";
import { AttachIcon, SendIcon } from "./icons.js";
import { Tray } from "./tray.js";
import { Counter, focusComposer, lengthOf, MAX_LENGTH, trimmed, WritingArea } from "./writing.js";

const finePointer = matchMedia("(pointer: fine)");

/**
 * Writes to one channel only: another channel has another composer.
 *
 * @param {{channel: import("../types.js").Channel, ready: boolean}} props
 */
export function Composer({ channel, ready }) {
  const [focus] = useState(takeFocus);
  const { text, files, refused } = draftOf(channel.id);
  const name = `${channel.type === "PUBLIC" ? "#" : ""}${channelTitle(channel)}`;
  const content = trimmed(text);
  const length = lengthOf(content);
  const sendable = ready && (content !== "" || files.length > 0) && length <= MAX_LENGTH;

  /** @param {string} next */
  const onText = (next) => {
    setText(channel.id, next);
    if (trimmed(next)) sendTyping(channel.id);
  };
  /** @param {File[]} more */
  const onFiles = (more) => {
    addFiles(channel.id, more);
    focusComposer(channel.id);
  };
  const onFolder = () => refuseFiles(channel.id, "A folder cannot be attached, only files.");
  const submit = () => {
    if (!sendable) return;
    if (files.length) upload(channel.id, content, files);
    else send(channel.id, content);
    clearDraft(channel.id);
  };
  /** @param {ClipboardEvent} event */
  const onPaste = (event) => {
    const pasted = pastedFiles(event.clipboardData);
    if (!pasted.length) return;
    event.preventDefault();
    onFiles(pasted);
  };

  return html`
    <form class="composer" data-channel=${channel.id} onPaste=${onPaste}
      onSubmit=${(/** @type {Event} */ event) => (event.preventDefault(), submit())}>
      <${DropZone} into=${name} onFiles=${onFiles} onFolder=${onFolder} />
      <div role="alert">${refused && html`<p class="refused">${refused}</p>`}</div>
      <div class=${length > MAX_LENGTH ? "composer-box over" : "composer-box"}>
        ${files.length > 0 && html`<${Tray} channelId=${channel.id} files=${files} onEmpty=${() => focusComposer(channel.id)} />`}
        <div class="composer-row">
          <${AttachButton} onFiles=${onFiles} />
          <${WritingArea} label=${`Message ${name}`} placeholder=${`Message ${name}`} text=${text} onText=${onText}
            onSubmit=${submit} onUp=${editLastOwn} focus=${focus && finePointer.matches ? channel.id : undefined} />
          <${Counter} length=${length} />
          <button class="send" aria-label="Send" title="Send" disabled=${!sendable}><${SendIcon} /></button>
        </div>
      </div>
    </form>
  `;
}

/** @param {{onFiles: (files: File[]) => void}} props */
function AttachButton({ onFiles }) {
  const input = useRef(/** @type {HTMLInputElement | null} */ (null));
  /** @param {any} event */
  const onChange = ({ target }) => {
    const chosen = [...target.files];
    // Lets the user choose the same file again.
    target.value = "";
    if (chosen.length) onFiles(chosen);
  };
  return html`
    <button type="button" class="attach" aria-label="Attach files" title="Attach files" onClick=${() => input.current?.click()}>
      <${AttachIcon} />
    </button>
    <input ref=${input} type="file" multiple hidden onChange=${onChange} />
  `;
}

/**
 * Office programs add a picture of the copied text; text takes precedence.
 *
 * @param {DataTransfer | null} clipboard
 */
function pastedFiles(clipboard) {
  const files = [...(clipboard?.files ?? [])];
  const drawn = files.every((file) => file.type.startsWith("image/") && /^image\.\w+$/.test(file.name));
  return drawn && clipboard?.getData("text/plain").trim() ? [] : files;
}

function editLastOwn() {
  const own = current.peek()?.messages.peek().findLast((message) => message.author?.id === me.peek()?.id);
  if (own) startEditing(own);
}
