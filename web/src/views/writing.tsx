// The text area of the composer and the editor: grows with the text, sends on Enter, counts the length.
import { useLayoutEffect, useRef } from "preact/hooks";
import { t } from "../i18n";
import type { RefObject } from "preact";
import type { useMentions } from "./mention-list";

export const MAX_LENGTH = 2_000;
/** The counter appears from this length. */
const NEARLY = 1_800;
/** As in composer.css. */
const TALLEST_PX = 320;
/** Whether the style sheet lets the text area grow. */
const growsByStyle = CSS.supports("field-sizing", "content");

/** The keyboard of a phone has no Shift+Enter, so its Enter begins a line, and the button sends. */
const touch = matchMedia("(pointer: coarse)");

/** Length in code points, not UTF-16 code units. */
export const lengthOf = (text: string) => (text.length <= NEARLY ? text.length : [...text].length);

/** Focuses the composer if it is this channel's. For buttons that disappear when pressed. */
export function focusComposer(channelId: string) {
  const composer = document.querySelector(".composer") as HTMLElement | null;
  if (composer?.dataset.channel === channelId) composer.querySelector("textarea")?.focus({ preventScroll: true });
}

/** The text to send, without blank lines around it. */
export const trimmed = (text: string) => text.replace(/^(?:[^\S\n]*\n)+/, "").trimEnd();

/** `focus`: a change of this value sets the focus */
export function WritingArea({
  text,
  label,
  placeholder,
  onText,
  onSubmit,
  onEscape,
  onUp,
  focus,
  area: given,
  completion,
}: {
  text: string;
  label: string;
  placeholder?: string;
  onText: (text: string) => void;
  onSubmit: () => void;
  onEscape?: () => void;
  onUp?: () => void;
  focus?: unknown;
  area?: RefObject<HTMLTextAreaElement | null>;
  /** Of names. */
  completion?: ReturnType<typeof useMentions>;
}) {
  const own = useRef<HTMLTextAreaElement | null>(null);
  const ref = given ?? own;
  useLayoutEffect(() => {
    if (growsByStyle) return;
    const area = ref.current as HTMLTextAreaElement;
    area.style.height = "auto";
    area.style.height = `${Math.min(area.scrollHeight, TALLEST_PX)}px`;
  }, [text]);
  // A layout effect: a later one would move the cursor while the user types.
  useLayoutEffect(() => {
    const area = ref.current as HTMLTextAreaElement;
    if (focus === undefined) return;
    area.focus({ preventScroll: true });
    area.setSelectionRange(area.value.length, area.value.length);
  }, [focus]);

  const onKeyDown = (event: KeyboardEvent) => {
    // Ignores keys of an input method's composition. Some browsers end the composition before the keydown of its Enter,
    // and give that keydown the code 229.
    if (event.isComposing || event.keyCode === 229) return;
    if (completion?.onKey(event)) return;
    if (event.key === "Enter" && !event.shiftKey && !touch.matches) {
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

  return (
    <textarea
      ref={ref}
      rows={1}
      dir="auto"
      aria-label={label}
      placeholder={placeholder}
      enterkeyhint={touch.matches ? "enter" : "send"}
      value={text}
      {...completion?.aria}
      onInput={({ currentTarget }) => {
        onText(currentTarget.value);
        completion?.follow();
      }}
      onKeyUp={({ key }) => key.startsWith("Arrow") && completion?.follow()}
      onClick={completion?.follow}
      onBlur={completion?.leave}
      onKeyDown={onKeyDown}
    />
  );
}

export function Counter({ length }: { length: number }) {
  if (length < NEARLY) return null;
  const left = MAX_LENGTH - length;
  return (
    <span
      class={`counter ${left < 0 ? "over" : ""}`}
      role="status"
      aria-label={t("{count} characters left", { count: left })}
    >
      {left}
    </span>
  );
}
