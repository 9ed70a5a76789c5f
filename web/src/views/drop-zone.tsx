// Accepts files dropped anywhere in the window, and keeps the browser from opening them.
import { useEffect, useRef, useState } from "preact/hooks";
import { elements } from "../i18n";
import { AttachIcon } from "./icons";
import { filesOf } from "./transfer";

/** Browsers fire dragover at least this often. */
const STILL_MS = 500;

/** `into`: the name of the channel, null to reject files */
export function DropZone({
  into,
  onFiles,
}: {
  into: string | null;
  onFiles?: (files: File[], folders: string[]) => void;
}) {
  const [over, setOver] = useState(false);
  const handlers = useRef({ into, onFiles });
  handlers.current = { into, onFiles };
  useEffect(() => {
    let timer: ReturnType<typeof setTimeout>;
    const away = () => {
      clearTimeout(timer);
      setOver(false);
    };
    const isWelcome = () => handlers.current.into !== null && !document.querySelector("dialog[open]");
    const onDragOver = (event: DragEvent) => {
      if (!event.dataTransfer?.types.includes("Files")) return;
      event.preventDefault();
      const welcome = isWelcome();
      event.dataTransfer.dropEffect = welcome ? "copy" : "none";
      clearTimeout(timer);
      timer = setTimeout(away, STILL_MS);
      setOver(welcome);
    };
    const onDrop = (event: DragEvent) => {
      if (!event.dataTransfer?.types.includes("Files")) return;
      event.preventDefault();
      away();
      if (!isWelcome()) return;
      const { files, folders } = filesOf(event.dataTransfer);
      handlers.current.onFiles?.(files, folders);
    };
    const onDragLeave = (event: DragEvent) => event.relatedTarget === null && away();
    addEventListener("dragover", onDragOver);
    addEventListener("drop", onDrop);
    addEventListener("dragleave", onDragLeave);
    return () => {
      clearTimeout(timer);
      removeEventListener("dragover", onDragOver);
      removeEventListener("drop", onDrop);
      removeEventListener("dragleave", onDragLeave);
    };
  }, []);
  if (!over) return null;
  return (
    <div class="drop-zone">
      <p>
        <span class="emblem">
          <AttachIcon />
        </span>
        {elements("Drop files to attach them to your message in {place}", { place: <b>{into}</b> })}
      </p>
    </div>
  );
}
