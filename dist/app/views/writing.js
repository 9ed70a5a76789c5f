// The text area of the composer and the editor: grows with the text, sends on Enter, counts the length.
import { html, useLayoutEffect, useRef } from "../ui.js";

export const MAX_LENGTH = 2_000;
/** The counter appears from this length. */
const NEARLY = 1_800;
const TALLEST_PX = 320;

/** Length in code points, not UTF-16 code units. @param {string} text */
export const lengthOf = (text) => (text.length <= NEARLY ? text.length : [...text].length);

/** Focuses the composer if it is this channel's. For buttons that disappear when pressed. @param {string} channelId */
export function focusComposer(channelId) {
  const composer = /** @type {HTMLElement | null} */ (document.querySelector(".composer"));
  if (composer?.dataset.channel === channelId) composer.querySelector("textarea")?.focus({ preventScroll: true });
}

/** The text to send, without blank lines around it. @param {string} text */
export const trimmed = (text) => text.replace(/^(?:[^\S\n]*\n)+/, "").trimEnd();

/**
 * @param {{text: string, label: string, placeholder?: string, onText: (text: string) => void, onSubmit: () => void,
 *   onEscape?: () => void, onUp?: () => void, focus?: unknown}} props `focus`: a change of this value sets the focus
 */
export function WritingArea({ text, label, placeholder, onText, onSubmit, onEscape, onUp, focus }) {
  const ref = useRef(/** @type {HTMLTextAreaElement | null} */ (null));
  useLayoutEffect(() => {
    const area = /** @type {HTMLTextAreaElement} */ (ref.current);
    area.style.height = "auto";
    area.style.height = `${Math.min(area.scrollHeight, TALLEST_PX)}px`;
  }, [text]);
  // A layout effect: a later one would move the cursor while the user types.
  useLayoutEffect(() => {
    const area = /** @type {HTMLTextAreaElement} */ (ref.current);
    if (focus === undefined) return;
    area.focus({ preventScroll: true });
    area.setSelectionRange(area.value.length, area.value.length);
  }, [focus]);

  /** @param {KeyboardEvent} event */
  const onKeyDown = (event) => {
    // Ignores keys of an input method's composition. Some browsers end the composition before the keydown of its Enter,
    // and give that keydown the code 229.
    if (event.isComposing || event.keyCode === 229) return;
    if (event.key === "Enter" && !event.shiftKey) {
      event.preventDefault();
      onSubmit();
    } else if (event.key === "Escape" && onEscape) {
      event.stopPropagation();
      onEscape();
    } else if (event.key === "ArrowUp" && onUp && text === "") {
      event.preventDefault();
      onUp();
    }
  };

  return html`
    <textarea ref=${ref} rows="1" dir="auto" aria-label=${label} placeholder=${placeholder} value=${text}
      onInput=${(/** @type {any} */ event) => onText(event.target.value)} onKeyDown=${onKeyDown}></textarea>
  `;
}

/** @param {{length: number}} props */
export function Counter({ length }) {
  if (length < NEARLY) return null;
  const left = MAX_LENGTH - length;
  return html`
    <span class=${`counter ${left < 0 ? "over" : ""}`} role="status" aria-label=${`${left} characters left`}>${left}</span>
  `;
}
