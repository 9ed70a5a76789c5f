// The keyboard in the list of messages. The list is one Tab stop, arrows move between its rows, and the controls of a row are
// Tab stops only while the row has the focus.
import { createContext } from "preact";
import { useContext, useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import type { RefObject } from "preact";
import type { List } from "./virtual-list";

/** Whether the row around a component has the focus. */
export const RowActive = createContext(true);

/** The tabindex of a control in a row. */
export const useTabIndex = () => (useContext(RowActive) ? 0 : -1);

const rowOf = (target: EventTarget | null) =>
  target instanceof Element ? (target.closest("[data-row]") as HTMLElement | null) : null;

const keyOf = (row: HTMLElement | null) => row?.dataset.row ?? null;

/** @param isRow whether the key is of a message */
export function useRowFocus(box: RefObject<HTMLDivElement | null>, isRow: (key: string) => boolean) {
  /** The row that contains the focus. */
  const [active, setActive] = useState<string | null>(null);
  /** The row that had the focus last, unless it went elsewhere, and its index. */
  const last = useRef<{ key: string; index: number } | null>(null);
  /** A row that takes the focus when it is rendered. */
  const wanted = useRef<string | null>(null);

  useEffect(() => {
    const onFocusIn = ({ target }: FocusEvent) => {
      const row = box.current?.contains(target as Node) ? rowOf(target) : null;
      const key = keyOf(row);
      setActive(key);
      last.current = key === null ? null : { key, index: Number(row?.parentElement?.dataset.index) };
    };
    const onPointerDown = ({ target }: PointerEvent) => {
      if (!rowOf(target)) last.current = null;
    };
    document.addEventListener("focusin", onFocusIn);
    document.addEventListener("pointerdown", onPointerDown);
    return () => {
      document.removeEventListener("focusin", onFocusIn);
      document.removeEventListener("pointerdown", onPointerDown);
    };
  }, []);

  const find = (key: string) => box.current?.querySelector(`[data-row="${CSS.escape(key)}"]`) as HTMLElement | null;

  function focusRow(list: List, index: number) {
    const key = list.options.getItemKey(Math.max(0, Math.min(index, list.options.count - 1)));
    if (typeof key !== "string" || !isRow(key)) return box.current?.focus({ preventScroll: true });
    list.scrollToIndex(index, { align: "auto" });
    const row = find(key);
    row?.focus({ preventScroll: true });
    wanted.current = row ? null : key;
    // Keeps the row in the document.
    setActive(key);
  }

  /** Gives the focus to a row, or to the one in its place, when the element that had it is gone. */
  function useRestore(list: List, keys: string[]) {
    useLayoutEffect(() => {
      if (wanted.current !== null) {
        find(wanted.current)?.focus({ preventScroll: true });
        wanted.current = null;
      }
      const lost = last.current;
      if (!lost || (document.activeElement !== document.body && document.activeElement !== null)) return;
      const index = keys.indexOf(lost.key);
      focusRow(list, index < 0 ? lost.index : index);
    });
  }

  return { active, focusRow, useRestore };
}

export { keyOf, rowOf };
