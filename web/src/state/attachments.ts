// Files chosen for an unsent message.
import { t } from "../i18n";
import { sizeOf } from "../text/size";
import { isPicture } from "./files";

/** Limits of the server. */
export const MAX_FILES = 10;
export const MAX_FILE_BYTES = 10 * 1024 * 1024;
/** The limit of 50 MB per request, less room for the other parts. */
const MAX_TOTAL_BYTES = 50 * 1024 * 1024 - 128 * 1024;

export interface Attachment {
  /** In this tab. */
  id: number;
  file: File;
  /** Object URL of a picture. */
  url: string | null;
}

let lastId = 0;

/**
 * Adds as many files as the limits allow.
 *
 * @returns `refused`: the reasons for the others, for the user
 */
export function withFiles(held: Attachment[], more: File[]): { files: Attachment[]; refused: string | null } {
  const files = [...held];
  let total = held.reduce((sum, { file }) => sum + file.size, 0);
  const reasons: Set<string> = new Set();
  for (const file of more) {
    const reason = refusalReason(file, files.length, total);
    if (reason) {
      reasons.add(reason);
      continue;
    }
    total += file.size;
    files.push({ id: ++lastId, file, url: isPicture({ contentType: file.type }) ? URL.createObjectURL(file) : null });
  }
  return { files, refused: reasons.size ? [...reasons].join(" ") : null };
}

function refusalReason(file: File, count: number, total: number) {
  if (count >= MAX_FILES) return t("A message can have {count} files at most.", { count: MAX_FILES });
  if (file.size === 0) return t("“{name}” is empty.", { name: file.name });
  if (file.size > MAX_FILE_BYTES) {
    return t("“{name}” is too large: a file can have {size} at most.", {
      name: file.name,
      size: sizeOf(MAX_FILE_BYTES),
    });
  }
  if (total + file.size > MAX_TOTAL_BYTES) return t("The files of a message can have 50 MB together at most.");
  return null;
}

/** Those that the browser cannot read any more: they were changed or deleted after the choice. */
export async function lostFiles(files: Attachment[]): Promise<Attachment[]> {
  const isLost = ({ file }: Attachment) =>
    file
      .slice(0, 1)
      .arrayBuffer()
      .then(
        () => false,
        () => true,
      );
  const lost = await Promise.all(files.map(isLost));
  return files.filter((_, at) => lost[at]);
}

/** Revokes the object URL. */
export function release({ url }: Attachment) {
  if (url) URL.revokeObjectURL(url);
}
