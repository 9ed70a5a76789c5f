// A picture at full window size, with navigation to the others of its message.
import { useId, useState } from "preact/hooks";
import { fileLink } from "../api";
import { t } from "../i18n";
import { pictureSource } from "../state/files";
import { sizeOf } from "../text/size";
import { closeDialog, useModal } from "./dialog";
import { BackIcon, CloseIcon, DownloadIcon, NextIcon, OpenIcon } from "./icons";
import type { BinaryContent } from "../types";

export function Lightbox({ files, first }: { files: BinaryContent[]; first: number }) {
  const [at, setAt] = useState(first);
  const { ref, onPress } = useModal();
  const id = useId();
  const file = files[at];
  const several = files.length > 1;
  const step = (by: number) => setAt((at + by + files.length) % files.length);
  const onKeyDown = ({ key }: KeyboardEvent) => {
    if (several && key === "ArrowLeft") step(-1);
    if (several && key === "ArrowRight") step(1);
  };
  /** @param event beside the picture */
  const onStagePress = ({ target, currentTarget }: MouseEvent) => target === currentTarget && closeDialog();
  return (
    <dialog
      ref={ref}
      class="lightbox"
      aria-labelledby={id}
      onClose={closeDialog}
      onMouseDown={onPress}
      onKeyDown={onKeyDown}
    >
      <header>
        <h2 id={id} dir="auto">
          {file.fileName}
        </h2>
        <span class="file-note">
          {sizeOf(file.size)}
          {several && ` · ${t("{number} of {count}", { number: at + 1, count: files.length })}`}
        </span>
        <a
          class="icon-button"
          href={fileLink(file.id)}
          target="_blank"
          rel="noopener"
          aria-label={t("Open in a new tab")}
          title={t("Open in a new tab")}
        >
          <OpenIcon />
        </a>
        <a
          class="icon-button"
          href={fileLink(file.id)}
          download={file.fileName}
          aria-label={t("Download")}
          title={t("Download")}
        >
          <DownloadIcon />
        </a>
        <button
          type="button"
          class="icon-button"
          aria-label={t("Close")}
          title={t("Close")}
          data-autofocus
          onClick={closeDialog}
        >
          <CloseIcon />
        </button>
      </header>
      <div class="stage" onMouseDown={onStagePress}>
        <img key={file.id} src={pictureSource(file) ?? undefined} alt={file.fileName} />
      </div>
      {several && (
        <>
          <button type="button" class="step back" aria-label={t("Previous picture")} onClick={() => step(-1)}>
            <BackIcon />
          </button>
          <button type="button" class="step next" aria-label={t("Next picture")} onClick={() => step(1)}>
            <NextIcon />
          </button>
        </>
      )}
    </dialog>
  );
}
