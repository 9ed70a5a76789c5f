// The files of a message: pictures in frames of a fixed size, other files in rows.
import { fileLink } from "../api.js";
import { isPicture, latest, pictureSource } from "../state/files.js";
import { sizeOf } from "../text/size.js";
import { html, useState } from "../ui.js";
import { openDialog } from "./dialog.js";
import { FileKind } from "./file-kind.js";
import { DownloadIcon } from "./icons.js";
import { Lightbox } from "./lightbox.js";

/** @typedef {import("../types.js").BinaryContent} BinaryContent */

/** @param {{files: BinaryContent[]}} props */
export function Attachments({ files }) {
  const now = files.map(latest);
  const pictures = now.filter((file) => isPicture(file) && file.uploadStatus !== "FAILED");
  const others = now.filter((file) => !pictures.includes(file));
  return html`
    <div class="attachments">
      ${pictures.length > 0 &&
      html`<div class=${pictures.length > 1 ? "pictures several" : "pictures"}>
        ${pictures.map((file) => html`<${Picture} key=${file.id} file=${file} among=${pictures} />`)}
      </div>`}
      ${others.map((file) => html`<${FileRow} key=${file.id} file=${file} />`)}
    </div>
  `;
}

/** @param {{file: BinaryContent, among: BinaryContent[]}} props */
function Picture({ file, among }) {
  const [broken, setBroken] = useState(false);
  const source = pictureSource(file);
  const waiting = file.uploadStatus === "WAITING";
  if (broken) return html`<${FileRow} file=${file} />`;
  if (!source) {
    return html`<div class="picture waiting"><${Processing} /><span class="unseen">${file.fileName}</span></div>`;
  }
  return html`
    <button type="button" class="picture" aria-label=${`Open picture ${file.fileName}`} title=${file.fileName}
      disabled=${waiting} onClick=${() => openDialog(html`<${Lightbox} files=${among} first=${among.indexOf(file)} />`)}>
      <img src=${source} alt="" loading="lazy" decoding="async" draggable=${false} onError=${() => setBroken(true)} />
      ${waiting && html`<${Processing} />`}
    </button>
  `;
}

/** @param {{file: BinaryContent}} props */
function FileRow({ file }) {
  const { id, fileName, size, contentType, uploadStatus } = file;
  const inside = html`
    <span class="file-kind"><${FileKind} contentType=${contentType} fileName=${fileName} /></span>
    <span class="file-words">
      <span class="file-name" dir="auto" title=${fileName}>${fileName}</span>
      <span class="file-note">
        ${uploadStatus === "FAILED" ? "This file could not be stored." : sizeOf(size)}
        ${uploadStatus === "WAITING" && html` · <${Processing} />`}
      </span>
    </span>
  `;
  if (uploadStatus !== "SUCCESS") return html`<div class=${`file ${uploadStatus.toLowerCase()}`}>${inside}</div>`;
  return html`
    <a class="file" href=${fileLink(id)} download=${fileName} aria-label=${`Download ${fileName}, ${sizeOf(size)}`}>
      ${inside}<${DownloadIcon} />
    </a>
  `;
}

const Processing = () => html`<span class="processing"><span class="spinner"></span>Processing…</span>`;
