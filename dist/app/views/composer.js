import { me } from "../session.js";
import { channelTitle } from "../state/channels.js";
import { current } from "../state/conversations.js";
import { draftOf, keepDraft } from "../state/drafts.js";
import { editing } from "../state/editing.js";
import { send } from "../state/outbox.js";
import { sayTyping } from "../state/typing.js";
import { html, useState } from "../ui.js";
import { SendIcon } from "./icons.js";
import { Counter, lengthOf, LONGEST, trimmed, WritingArea } from "./writing.js";

const finePointer = matchMedia("(pointer: fine)");

/** @param {{channel: import("../types.js").Channel, ready: boolean}} props */
export function Composer({ channel, ready }) {
  const [text, setText] = useState(() => draftOf(channel.id));
  const name = `${channel.type === "PUBLIC" ? "#" : ""}${channelTitle(channel)}`;
  const content = trimmed(text);
  const length = lengthOf(content);
  const sendable = ready && content !== "" && length <= LONGEST;

  /** @param {string} next */
  const onText = (next) => {
    setText(next);
    keepDraft(channel.id, next);
    if (trimmed(next)) sayTyping(channel.id);
  };
  const submit = () => {
    if (!sendable) return;
    send(channel.id, content);
    onText("");
  };

  return html`
    <form class="composer" onSubmit=${(/** @type {Event} */ event) => (event.preventDefault(), submit())}>
      <div class=${length > LONGEST ? "composer-box over" : "composer-box"}>
        <${WritingArea} label=${`Message ${name}`} placeholder=${`Message ${name}`} text=${text} onText=${onText}
          onSubmit=${submit} onUp=${editLastOwn} focus=${finePointer.matches ? channel.id : undefined} />
        <${Counter} length=${length} />
        <button class="send" aria-label="Send" title="Send" disabled=${!sendable}><${SendIcon} /></button>
      </div>
    </form>
  `;
}

function editLastOwn() {
  const own = current.peek()?.messages.peek().findLast((message) => message.author?.id === me.peek()?.id);
  if (own) editing.value = own.id;
}
