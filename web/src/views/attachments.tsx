// The files of a message: pictures in frames of a fixed size, other files in rows.
import { useState } from "preact/hooks";
import { fileLink } from "../api";
import { isPicture, latest, pictureSource } from "../state/files";
import { sizeOf } from "../text/size";
import { openDialog } from "./dialog";
import { FileKind } from "./file-kind";
import { DownloadIcon } from "./icons";
import { Lightbox } from "./lightbox";
import { useTabIndex } from "./row-focus";
import type { BinaryContent } from "../types";

export function Attachments({ files }: { files: BinaryContent[] }) {
  const now = files.map(latest);
  const pictures = now.filter((file) => isPicture(file) && file.uploadStatus !== "FAILED");
  const others = now.filter((file) => !pictures.includes(file));
  return (
    <div class="attachments">
      {pictures.length > 0 && (
        <div class={pictures.length > 1 ? "pictures several" : "pictures"}>
          {pictures.map((file) => (
            <Picture key={file.id} file={file} among={pictures} />
          ))}
        </div>
      )}
      {others.map((file) => (
        <FileRow key={file.id} file={file} />
      ))}
    </div>
  );
}

function Picture({ file, among }: { file: BinaryContent; among: BinaryContent[] }) {
  const [broken, setBroken] = useState(false);
  const tabindex = useTabIndex();
  const source = pictureSource(file);
  const waiting = file.uploadStatus === "WAITING";
  if (broken) return <FileRow file={file} />;
  if (!source) {
    return (
      <div class="picture waiting">
        <Processing />
        <span class="unseen">{file.fileName}</span>
      </div>
    );
  }
  return (
    <button
      type="button"
      class="picture"
      tabindex={tabindex}
      aria-label={`Open picture ${file.fileName}`}
      title={file.fileName}
      disabled={waiting}
      onClick={() => openDialog(<Lightbox files={among} first={among.indexOf(file)} />)}
    >
      <img src={source} alt="" loading="lazy" decoding="async" draggable={false} onError={() => setBroken(true)} />
      {waiting && <Processing />}
    </button>
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
        </span>
        <span class="file-note">
          {uploadStatus === "FAILED" ? "This file could not be stored." : sizeOf(size)}
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
  return (
    <a
      class="file"
      href={fileLink(id)}
      download={fileName}
      tabindex={tabindex}
      aria-label={`Download ${fileName}, ${sizeOf(size)}`}
    >
      {inside}
      <DownloadIcon />
    </a>
  );
}

const Processing = () => (
  <span class="processing">
    <span class="spinner" />
    Processing…
  </span>
);
