import { html } from "../ui.js";
import { ArchiveIcon, AudioIcon, FileIcon, ImageIcon, TextIcon, VideoIcon } from "./icons.js";

/** The first match counts; by name when the type is generic. @type {[RegExp, RegExp, () => unknown][]} */
const KINDS = [
  [/^image\//, /^$/, ImageIcon],
  [/^audio\//, /^$/, AudioIcon],
  [/^video\//, /^$/, VideoIcon],
  [/zip|compressed|x-tar|gzip|archive/, /\.(zip|gz|tgz|xz|bz2|zst|7z|rar|tar)$/i, ArchiveIcon],
  [/^text\/|pdf|msword|document|presentation|sheet|json/, /\.(txt|md|pdf|docx?|odt|hwpx?|xlsx?|pptx?|csv|log)$/i, TextIcon],
];

/** @param {{contentType: string, fileName: string}} props */
export function FileKind({ contentType, fileName }) {
  const Icon = KINDS.find(([types, names]) => types.test(contentType) || names.test(fileName))?.[2] ?? FileIcon;
  return html`<${Icon} />`;
}
