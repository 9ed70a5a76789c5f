// Accepts files dropped anywhere in the window, and keeps the browser from opening them.
import { html, useEffect, useRef, useState } from "../ui.js";
import { AttachIcon } from "./icons.js";

/** Browsers fire dragover at least this often. */
const STILL_MS = 500;

/**
 * @param {{into: string | null, onFiles?: (files: File[]) => void, onFolder?: () => void}} props `into`: the name of the
 *   channel, null to reject files
 */
export function DropZone({ into, onFiles, onFolder }) {
  const [over, setOver] = useState(false);
  const handlers = useRef({ into, onFiles, onFolder });
  handlers.current = { into, onFiles, onFolder };
  useEffect(() => {
    /** @type {ReturnType<typeof setTimeout>} */
    let timer;
    const away = () => {
      clearTimeout(timer);
      setOver(false);
    };
    const isWelcome = () => handlers.current.into !== null && !document.querySelector("dialog[open]");
    /** @param {DragEvent} event */
    const onDragOver = (event) => {
      if (!event.dataTransfer?.types.includes("Files")) return;
      event.preventDefault();
      const welcome = isWelcome();
      event.dataTransfer.dropEffect = welcome ? "copy" : "none";
      clearTimeout(timer);
      timer = setTimeout(away, STILL_MS);
      setOver(welcome);
    };
    /** @param {DragEvent} event */
    const onDrop = (event) => {
      if (!event.dataTransfer?.types.includes("Files")) return;
      event.preventDefault();
      away();
      if (!isWelcome()) return;
      const items = [...event.dataTransfer.items].filter((item) => item.kind === "file");
      const files = items.filter((item) => !item.webkitGetAsEntry?.()?.isDirectory).map((item) => item.getAsFile());
      if (files.length) handlers.current.onFiles?.(files.filter((file) => file !== null));
      else handlers.current.onFolder?.();
    };
    /** @param {DragEvent} event */
    const onDragLeave = (event) => event.relatedTarget === null && away();
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
  return html`
    <div class="drop-zone">
      <p><span class="emblem"><${AttachIcon} /></span>Drop files to attach them to your message in <b>${into}</b></p>
    </div>
  `;
}
