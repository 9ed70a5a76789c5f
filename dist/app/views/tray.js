// The files of an unsent message.
import { removeFile } from "../state/drafts.js";
import { sizeOf } from "../text/size.js";
import { html, useRef } from "../ui.js";
import { FileKind } from "./file-kind.js";
import { CloseIcon } from "./icons.js";

/** @typedef {import("../state/attachments.js").Attachment} Attachment */

/** @param {{channelId: string, files: Attachment[], onEmpty: () => void}} props `onEmpty`: called after the last removal */
export function Tray({ channelId, files, onEmpty }) {
  const list = useRef(/** @type {HTMLUListElement | null} */ (null));
  /** Removes a file and moves the focus to its neighbour. @param {Attachment} attachment */
  const remove = (attachment) => {
    const at = files.indexOf(attachment);
    const buttons = list.current?.querySelectorAll("button") ?? [];
    const next = buttons[at + 1] ?? buttons[at - 1];
    if (next) next.focus();
    else onEmpty();
    removeFile(channelId, attachment);
  };
  return html`
    <ul ref=${list} class="tray" aria-label="Files to send">
      ${files.map(
        (each) => html`
          <li key=${each.id} class="chip">
            ${each.url
              ? html`<img src=${each.url} alt="" />`
              : html`<span class="file-kind"><${FileKind} contentType=${each.file.type} fileName=${each.file.name} /></span>`}
            <span class="file-words">
              <span class="file-name" title=${each.file.name} dir="auto">${each.file.name}</span>
              <span class="file-note">${sizeOf(each.file.size)}</span>
            </span>
            <button type="button" class="icon-button" aria-label=${`Remove ${each.file.name}`} title="Remove"
              onClick=${() => remove(each)}>
              <${CloseIcon} />
            </button>
          </li>
        `,
      )}
    </ul>
  `;
}
