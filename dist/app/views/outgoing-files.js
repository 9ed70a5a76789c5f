// The files of a pending message, with upload progress.
import { returnToDraft } from "../state/unsent.js";
import { sizeOf } from "../text/size.js";
import { html } from "../ui.js";
import { FileKind } from "./file-kind.js";
import { focusComposer } from "./writing.js";

/** @param {{pending: import("../state/pending.js").Pending}} props */
export function OutgoingFiles({ pending }) {
  const pictures = pending.files.filter(({ url }) => url);
  const others = pending.files.filter(({ url }) => !url);
  return html`
    <div class="attachments">
      ${pictures.length > 0 &&
      html`<div class=${pictures.length > 1 ? "pictures several" : "pictures"}>
        ${pictures.map(({ id, url, file }) => html`<div key=${id} class="picture"><img src=${url} alt=${file.name} /></div>`)}
      </div>`}
      ${others.map(
        ({ id, file }) => html`
          <div key=${id} class="file">
            <span class="file-kind"><${FileKind} contentType=${file.type} fileName=${file.name} /></span>
            <span class="file-words">
              <span class="file-name" dir="auto" title=${file.name}>${file.name}</span>
              <span class="file-note">${sizeOf(file.size)}</span>
            </span>
          </div>
        `,
      )}
      ${pending.state === "uploading" && html`<${Progress} pending=${pending} />`}
      ${pending.state === "stored" && html`<p class="upload"><span class="spinner"></span>Processing…</p>`}
    </div>
  `;
}

/** @param {{pending: import("../state/pending.js").Pending}} props */
function Progress({ pending: { clientMessageId, channelId, progress } }) {
  const percent = Math.floor(progress.value * 100);
  return html`
    <div class="upload">
      <span class="bar" role="progressbar" aria-label="Upload" aria-valuemin="0" aria-valuemax="100" aria-valuenow=${percent}>
        <i style=${{ transform: `scaleX(${progress.value})` }}></i>
      </span>
      <span class="percent" aria-hidden="true">${percent < 100 ? `${percent} %` : "Processing…"}</span>
      ${percent < 100 &&
      html`<button type="button" class="link" onClick=${() => (returnToDraft(clientMessageId), focusComposer(channelId))}>Cancel</button>`}
    </div>
  `;
}
