// Shown in place of a conversation that the user has lost, with the unsent message, which can be copied but not sent.
import { channelTitle } from "../state/channels.js";
import { discardDraft, draftOf } from "../state/drafts.js";
import { lostChannel } from "../state/lost.js";
import { html, useRef, useState } from "../ui.js";
import { DropZone } from "./drop-zone.js";
import { Topbar } from "./empty.js";
import { ChatIcon } from "./icons.js";
import { Tray } from "./tray.js";

/** @param {{channelId: string}} props */
export function Lost({ channelId }) {
  const channel = lostChannel(channelId);
  const { text, files } = draftOf(channelId);
  const [heading, reason] = explanation(channel);
  return html`
    <${Topbar} title=${channel ? channelTitle(channel) : ""} />
    <${DropZone} into=${null} />
    <div class="empty">
      <span class="emblem"><${ChatIcon} /></span>
      <div role="alert">
        <h2>${heading}</h2>
        <p>${reason}</p>
      </div>
      ${(text !== "" || files.length > 0) && html`<${Unsent} channelId=${channelId} text=${text} files=${files} />`}
    </div>
  `;
}

/** @param {import("../types.js").Channel | null} channel null when it was not there from the start */
function explanation(channel) {
  if (!channel) return ["This conversation is not available", "It was deleted, or you are not in it."];
  if (channel.type === "PUBLIC") return ["This channel is gone", "It was deleted."];
  return ["This conversation is gone", "It was deleted, or you are no longer in it."];
}

/** @param {{channelId: string, text: string, files: import("../state/attachments.js").Attachment[]}} props */
function Unsent({ channelId, text, files }) {
  const area = useRef(/** @type {HTMLTextAreaElement | null} */ (null));
  const [copied, setCopied] = useState(false);
  const copy = () => {
    area.current?.select();
    // navigator.clipboard needs a secure origin, and a private server may use plain HTTP.
    setCopied(document.execCommand("copy"));
  };
  return html`
    <section class="unsent" aria-label="Unsent message">
      <p>Your message was not sent. It stays here until you close the page or sign out.</p>
      ${text !== "" && html`<textarea ref=${area} readonly rows="5" dir="auto" aria-label="Your unsent message" value=${text}></textarea>`}
      ${files.length > 0 && html`<${Tray} channelId=${channelId} files=${files} onEmpty=${() => {}} />`}
      <div class="row">
        ${text !== "" && html`<button type="button" class="primary" onClick=${copy}>${copied ? "Copied" : "Copy text"}</button>`}
        <button type="button" class="quiet" onClick=${() => discardDraft(channelId)}>Discard</button>
      </div>
    </section>
  `;
}
