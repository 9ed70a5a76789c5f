// The files of a pending message, with upload progress.
import { t } from "../i18n";
import { returnToDraft } from "../state/unsent";
import { sizeOf } from "../text/size";
import { FileKind } from "./file-kind";
import { focusComposer } from "./writing";
import type { Pending } from "../state/pending";

export function OutgoingFiles({ pending }: { pending: Pending }) {
  const pictures = pending.files.filter(({ url }) => url);
  const others = pending.files.filter(({ url }) => !url);
  return (
    <div class="attachments">
      {pictures.length > 0 && (
        <div class={pictures.length > 1 ? "pictures several" : "pictures"} data-count={pictures.length}>
          {pictures.map(({ id, url, file }) => (
            <div key={id} class="picture">
              <img src={url ?? undefined} alt={file.name} />
            </div>
          ))}
        </div>
      )}
      {others.map(({ id, file }) => (
        <div key={id} class="file">
          <span class="file-kind">
            <FileKind contentType={file.type} fileName={file.name} />
          </span>
          <span class="file-words">
            <span class="file-name" dir="auto" title={file.name}>
              {file.name}
            </span>
            <span class="file-note">{sizeOf(file.size)}</span>
          </span>
        </div>
      ))}
      {pending.state === "uploading" && <Progress pending={pending} />}
      {pending.state === "stored" && (
        <p class="upload">
          <span class="spinner" />
          {t("Processing…")}
        </p>
      )}
    </div>
  );
}

function Progress({ pending: { clientMessageId, channelId, progress, published } }: { pending: Pending }) {
  const percent = Math.floor(progress.value * 100);
  return (
    <div class="upload">
      <span
        class="bar"
        role="progressbar"
        aria-label={t("Upload")}
        aria-valuemin={0}
        aria-valuemax={100}
        aria-valuenow={percent}
      >
        <i style={{ transform: `scaleX(${progress.value})` }} />
      </span>
      <span class="percent" aria-hidden="true">
        {percent < 100 ? `${percent} %` : t("Processing…")}
      </span>
      {percent < 100 && !published && (
        <button type="button" class="link" onClick={() => (returnToDraft(clientMessageId), focusComposer(channelId))}>
          {t("Cancel")}
        </button>
      )}
    </div>
  );
}
