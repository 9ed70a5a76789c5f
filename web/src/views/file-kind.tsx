import type { JSX } from "preact";
import { ArchiveIcon, AudioIcon, FileIcon, ImageIcon, TextIcon, VideoIcon } from "./icons";

/** The first match counts; by name when the type is generic. */
const KINDS: [RegExp, RegExp, () => JSX.Element][] = [
  [/^image\//, /^$/, ImageIcon],
  [/^audio\//, /^$/, AudioIcon],
  [/^video\//, /^$/, VideoIcon],
  [/zip|compressed|x-tar|gzip|archive/, /\.(zip|gz|tgz|xz|bz2|zst|7z|rar|tar)$/i, ArchiveIcon],
  [
    /^text\/|pdf|msword|document|presentation|sheet|json/,
    /\.(txt|md|pdf|docx?|odt|hwpx?|xlsx?|pptx?|csv|log)$/i,
    TextIcon,
  ],
];

export function FileKind({ contentType, fileName }: { contentType: string; fileName: string }) {
  const Icon = KINDS.find(([types, names]) => types.test(contentType) || names.test(fileName))?.[2] ?? FileIcon;
  return <Icon />;
}
