// The emoji picker: a search, groups in tabs, and the emoji that were used last.
import { useEffect, useId, useLayoutEffect, useRef, useState } from "preact/hooks";
import { language, t } from "../i18n";
import { findEmoji, groups, recent, rememberEmoji } from "./search";
import type { PickerProps } from "../views/emoji";
import type { Emoji } from "./search";

const TABS = [
  { glyph: "🕘", name: "Used recently" },
  { glyph: "😀", name: "Smileys" },
  { glyph: "👋", name: "People" },
  { glyph: "🐻", name: "Animals and nature" },
  { glyph: "🍔", name: "Food and drink" },
  { glyph: "🚗", name: "Travel and places" },
  { glyph: "⚽", name: "Activities" },
  { glyph: "💡", name: "Objects" },
  { glyph: "❤️", name: "Symbols" },
  { glyph: "🏁", name: "Flags" },
] as const;

export function EmojiPicker({ onPick }: PickerProps) {
  const [query, setQuery] = useState("");
  const [tab, setTab] = useState(recent.peek().length ? 0 : 1);
  // The emoji that is picked first is not moved away from under the pointer.
  const [before] = useState(recent.peek());
  const field = useRef<HTMLInputElement | null>(null);
  const grid = useRef<HTMLDivElement | null>(null);
  const id = useId();
  const shown = query.trim() ? findEmoji(query) : tab === 0 ? before : groups[tab - 1];
  useEffect(() => field.current?.focus({ preventScroll: true }), []);
  useLayoutEffect(() => void (grid.current as HTMLElement).scrollTo(0, 0), [tab, query]);

  const pick = ({ emoji }: Emoji) => {
    rememberEmoji(emoji);
    onPick(emoji);
  };
  const onFieldKey = (event: KeyboardEvent) => {
    if (event.isComposing || event.keyCode === 229) return;
    if (event.key === "Enter" && shown.length) {
      event.preventDefault();
      pick(shown[0]);
    } else if (event.key === "ArrowDown") {
      event.preventDefault();
      (grid.current?.querySelector("button") as HTMLElement | null)?.focus();
    }
  };
  const onGridKey = (event: KeyboardEvent) => {
    const buttons = [...(grid.current?.querySelectorAll("button") ?? [])];
    const at = buttons.indexOf(event.target as HTMLButtonElement);
    const to = at < 0 ? -1 : nextIndex(event.key, at, buttons);
    if (to === null) return;
    event.preventDefault();
    if (to < 0) field.current?.focus();
    else buttons[to].focus();
  };
  const onTabKey = ({ key, currentTarget }: any) => {
    const step = key === "ArrowRight" ? 1 : key === "ArrowLeft" ? -1 : 0;
    if (!step) return;
    const next = (tab + step + TABS.length) % TABS.length;
    setTab(next);
    (currentTarget as HTMLElement).querySelectorAll("button")[next].focus();
  };

  return (
    <div class="emoji-picker">
      <input
        ref={field}
        type="search"
        class="search"
        aria-label={t("Search emoji")}
        placeholder={t("Search emoji")}
        autocomplete="off"
        value={query}
        onInput={({ currentTarget }) => setQuery(currentTarget.value)}
        onKeyDown={onFieldKey}
      />
      {!query.trim() && (
        <div class="emoji-tabs" role="tablist" aria-label={t("Kinds of emoji")} onKeyDown={onTabKey}>
          {TABS.map(({ glyph, name }, index) => (
            <button
              key={name}
              type="button"
              role="tab"
              id={`${id}-${index}`}
              aria-selected={tab === index}
              aria-controls={`${id}-panel`}
              tabindex={tab === index ? 0 : -1}
              aria-label={t(name)}
              title={t(name)}
              onClick={() => setTab(index)}
            >
              {glyph}
            </button>
          ))}
        </div>
      )}
      <div
        ref={grid}
        class="emoji-grid"
        id={`${id}-panel`}
        role={query.trim() ? "group" : "tabpanel"}
        aria-label={query.trim() ? t("Results") : t(TABS[tab].name)}
        onKeyDown={onGridKey}
      >
        {shown.map((each, index) => {
          const name = language.value === "ko" ? each.korean : each.english;
          return (
            <button
              key={each.emoji}
              type="button"
              tabindex={index === 0 ? 0 : -1}
              aria-label={name}
              title={name}
              onClick={() => pick(each)}
            >
              {each.emoji}
            </button>
          );
        })}
        {!shown.length && <p class="none">{query.trim() ? t("No emoji found.") : t("None yet.")}</p>}
      </div>
      <p class="unseen" role="status">
        {query.trim() && t("{count} emoji", { count: shown.length })}
      </p>
    </div>
  );
}

/** @returns the button that an arrow leads to, -1 for the field above, null for another key */
function nextIndex(key: string, at: number, buttons: HTMLElement[]): number | null {
  const columns = buttons.filter((each) => each.offsetTop === buttons[0].offsetTop).length;
  switch (key) {
    case "ArrowRight":
      return Math.min(at + 1, buttons.length - 1);
    case "ArrowLeft":
      return Math.max(at - 1, 0);
    case "ArrowDown":
      return Math.min(at + columns, buttons.length - 1);
    case "ArrowUp":
      return at < columns ? -1 : at - columns;
    case "Home":
      return 0;
    case "End":
      return buttons.length - 1;
    default:
      return null;
  }
}
