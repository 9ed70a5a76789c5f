// The files of an unsent message.
import { useRef } from "preact/hooks";
import { t } from "../i18n";
import { removeFile } from "../state/drafts";
import { sizeOf } from "../text/size";
import { FileKind } from "./file-kind";
import { CloseIcon } from "./icons";
import type { Attachment } from "../state/attachments";

/** `onEmpty`: called after the last removal */
export function Tray({ channelId, files, onEmpty }: { channelId: string; files: Attachment[]; onEmpty: () => void }) {
  const list = useRef<HTMLUListElement | null>(null);
  /** Removes a file and moves the focus to its neighbour. */
  const remove = (attachment: Attachment) => {
    const at = files.indexOf(attachment);
    const buttons = list.current?.querySelectorAll("button") ?? [];
    const next = buttons[at + 1] ?? buttons[at - 1];
    if (next) next.focus();
    else onEmpty();
    removeFile(channelId, attachment);
  };
  return (
    <ul ref={list} class="tray" aria-label={t("Files to send")}>
      {files.map((each) => (
        <li key={each.id} class="chip">
          {each.url ? (
            <img src={each.url} alt="" />
          ) : (
            <span class="file-kind">
              <FileKind contentType={each.file.type} fileName={each.file.name} />
            </span>
          )}
          <span class="file-words">
            <span class="file-name" title={each.file.name} dir="auto">
              {each.file.name}
            </span>
            <span class="file-note">{sizeOf(each.file.size)}</span>
          </span>
          <button
            type="button"
            class="icon-button"
            aria-label={t("Remove {name}", { name: each.file.name })}
            title={t("Remove")}
            onClick={() => remove(each)}
          >
            <CloseIcon />
          </button>
        </li>
      ))}
    </ul>
  );
}
