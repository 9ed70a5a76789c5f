// The files of a message: pictures, and rows of other files.
import { useEffect, useState } from "preact/hooks";
import { fileLink } from "../api";
import { t } from "../i18n";
import { connection } from "../live/link";
import { isPicture, latest, pictureSource, playerOf } from "../state/files";
import { sizeOf } from "../text/size";
import { isReadable, openDocument } from "./documents";
import { FileKind } from "./file-kind";
import { DownloadIcon } from "./icons";
import { openLightbox } from "./lazy-dialogs";
import { useTabIndex } from "./row-focus";
import type { BinaryContent } from "../types";

/** Sizes of pictures that were shown, so that a row that appears again has its height at once. */
const sizes: Map<string, { width: number; height: number }> = new Map();
const MAX_SIZES = 2_000;
/** As in files.css: the width of one picture, and that of one among several. */
const MAX_PICTURE_PX = 460;
const MAX_TILE_PX = 312;

export function Attachments({ files }: { files: BinaryContent[] }) {
  const now = files.map(latest);
  // Files that could not be shown or played. They may have been interrupted with the connection.
  const [broken, setBroken] = useState<string[]>([]);
  useEffect(() => {
    if (connection.value === "on") setBroken((before) => (before.length ? [] : before));
  }, [connection.value]);
  const onBroken = ({ id }: BinaryContent) => setBroken((before) => [...before, id]);
  const pictures = now.filter((file) => isPicture(file) && file.uploadStatus !== "FAILED" && !broken.includes(file.id));
  const others = now.filter((file) => !pictures.includes(file));
  return (
    <div class="attachments">
      {pictures.length > 0 && (
        <div class={pictures.length > 1 ? "pictures several" : "pictures"} data-count={pictures.length}>
          {pictures.map((file) => (
            <Picture key={file.id} file={file} among={pictures} onBroken={() => onBroken(file)} />
          ))}
        </div>
      )}
      {others.map((file) => {
        const kind = file.uploadStatus === "SUCCESS" && !broken.includes(file.id) ? playerOf(file) : null;
        return kind ? (
          <Player key={file.id} file={file} kind={kind} onBroken={() => onBroken(file)} />
        ) : (
          <FileRow key={file.id} file={file} />
        );
      })}
    </div>
  );
}

function Picture({ file, among, onBroken }: { file: BinaryContent; among: BinaryContent[]; onBroken: () => void }) {
  const [loaded, setLoaded] = useState(sizes.get(file.id));
  // The server's, so that the row has its height before the picture is there.
  const size = file.width && file.height ? { width: file.width, height: file.height } : loaded;
  const tabindex = useTabIndex();
  const source = pictureSource(file, among.length > 1 ? MAX_TILE_PX : MAX_PICTURE_PX);
  const waiting = file.uploadStatus === "WAITING";
  if (!source) {
    return (
      <div class="picture waiting">
        <Processing />
        <span class="unseen">{file.fileName}</span>
      </div>
    );
  }
  const onLoad = ({ currentTarget }: { currentTarget: HTMLImageElement }) => {
    const { naturalWidth: width, naturalHeight: height } = currentTarget;
    if (sizes.size >= MAX_SIZES) sizes.clear();
    sizes.set(file.id, { width, height });
    setLoaded({ width, height });
  };
  return (
    <button
      type="button"
      class={size ? "picture" : "picture loading"}
      tabindex={tabindex}
      aria-label={t("Open picture {name}", { name: file.fileName })}
      title={file.fileName}
      disabled={waiting}
      onClick={() => void openLightbox(among, among.indexOf(file))}
    >
      <img
        src={source}
        alt=""
        style={size && among.length === 1 ? shapeOf(size) : undefined}
        decoding="async"
        draggable={false}
        onLoad={onLoad}
        onError={onBroken}
      />
      {waiting && <Processing />}
    </button>
  );
}

/** As large as the frame allows, and not larger than the picture, also before it is loaded and from a thumbnail. */
const shapeOf = ({ width, height }: { width: number; height: number }) => ({
  width: `min(${width}px, calc(var(--height) * ${width / height}))`,
  aspectRatio: `${width} / ${height}`,
});

/** The element that plays now: another one that starts pauses it. */
let playing: HTMLMediaElement | null = null;

/** The browser reads only the beginning, and ranges of the rest while it plays. */
function Player({
  file,
  kind: Kind,
  onBroken,
}: {
  file: BinaryContent;
  kind: "audio" | "video";
  onBroken: () => void;
}) {
  const onPlay = ({ currentTarget }: { currentTarget: HTMLMediaElement }) => {
    if (playing !== currentTarget) playing?.pause();
    playing = currentTarget;
  };
  return (
    <div class={`player ${Kind}`}>
      <Kind
        controls
        preload="metadata"
        playsinline
        src={fileLink(file.id)}
        // Takes its controls out of the Tab order, too.
        tabindex={useTabIndex()}
        aria-label={file.fileName}
        onPlay={onPlay}
        onError={onBroken}
      />
      <FileRow file={file} />
    </div>
  );
}

function FileRow({ file }: { file: BinaryContent }) {
  const { id, fileName, size, contentType, uploadStatus } = file;
  const tabindex = useTabIndex();
  const inside = (
    <>
      <span class="file-kind">
        <FileKind contentType={contentType} fileName={fileName} />
      </span>
      <span class="file-words">
        <span class="file-name" dir="auto" title={fileName}>
          {fileName}
        </span>{" "}
        <span class="file-note">
          {uploadStatus === "FAILED" ? t("This file could not be stored.") : sizeOf(size)}
          {uploadStatus === "WAITING" && (
            <>
              {" "}
              · <Processing />
            </>
          )}
        </span>
      </span>
    </>
  );
  if (uploadStatus !== "SUCCESS") return <div class={`file ${uploadStatus.toLowerCase()}`}>{inside}</div>;
  const label = t("Download {name} {size}", { name: fileName, size: sizeOf(size) });
  const link = { href: fileLink(id), download: fileName, tabindex, "aria-label": label };
  if (isReadable(file)) {
    return (
      <div class="file">
        <button
          type="button"
          class="file-open"
          tabindex={tabindex}
          aria-label={t("Open {name} {size}", { name: fileName, size: sizeOf(size) })}
          onClick={() => void openDocument(file)}
        >
          {inside}
        </button>
        <a class="icon-button" title={t("Download")} {...link}>
          <DownloadIcon />
        </a>
      </div>
    );
  }
  return (
    <a class="file" {...link}>
      {inside}
      <DownloadIcon />
    </a>
  );
}

const Processing = () => (
  <span class="processing">
    <span class="spinner" />
    {t("Processing…")}
  </span>
);
