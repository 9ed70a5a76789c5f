// What every place to write a message in shares: it grows with the text, Enter sends, the length is counted.
import { html, useLayoutEffect, useRef } from "../ui.js";

export const LONGEST = 2_000;
/** From here on the counter is shown. */
const NEARLY = 1_800;
const TALLEST_PX = 320;

/** In characters as people count them, not UTF-16 units. @param {string} text */
export const lengthOf = (text) => (text.length <= NEARLY ? text.length : [...text].length);

/** For buttons that go when they are pressed, after which one writes on. */
export const focusComposer = () =>
  /** @type {HTMLElement | null} */ (document.querySelector(".composer textarea"))?.focus({ preventScroll: true });

/** What would be sent: without blank lines around it. @param {string} text */
export const trimmed = (text) => text.replace(/^(?:[^\S\n]*\n)+/, "").trimEnd();

/**
 * @param {{text: string, label: string, placeholder?: string, onText: (text: string) => void, onSubmit: () => void,
 *   onEscape?: () => void, onUp?: () => void, focus?: unknown}} props `focus`: takes the focus whenever this changes
 */
export function WritingArea({ text, label, placeholder, onText, onSubmit, onEscape, onUp, focus }) {
  const ref = useRef(/** @type {HTMLTextAreaElement | null} */ (null));
  useLayoutEffect(() => {
    const area = /** @type {HTMLTextAreaElement} */ (ref.current);
    area.style.height = "auto";
    area.style.height = `${Math.min(area.scrollHeight, TALLEST_PX)}px`;
  }, [text]);
  // Before anybody can type: later it would move the cursor under their hands.
  useLayoutEffect(() => {
    const area = /** @type {HTMLTextAreaElement} */ (ref.current);
    if (focus === undefined) return;
    area.focus({ preventScroll: true });
    area.setSelectionRange(area.value.length, area.value.length);
  }, [focus]);

  /** @param {KeyboardEvent} event */
  const onKeyDown = (event) => {
    // While an input method composes, its keys are its own. Some browsers end the composition before the keydown
    // of the Enter that ended it, and mark that one with 229.
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
  const left = LONGEST - length;
  return html`
    <span class=${`counter ${left < 0 ? "over" : ""}`} role="status" aria-label=${`${left} characters left`}>${left}</span>
  `;
}
