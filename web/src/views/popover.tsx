// A button that opens a panel, with the browser's popover, which closes on Escape and on a click elsewhere, and returns
// the focus.
import { useEffect, useId, useLayoutEffect, useRef, useState } from "preact/hooks";
import type { ComponentChildren } from "preact";

/** Distance to the window's edge and to the button. */
const EDGE_PX = 8;

/** `label`: of the button; `heading`: of the panel; `panel`: its content */
export function Popover({
  label,
  title,
  icon,
  className = "",
  heading,
  onOpen,
  panel,
}: {
  label: string;
  title?: string;
  icon: ComponentChildren;
  className?: string;
  heading: string;
  onOpen?: () => void;
  panel: (close: () => void) => ComponentChildren;
}) {
  const [open, setOpen] = useState(false);
  const button = useRef<HTMLButtonElement | null>(null);
  const box = useRef<HTMLDivElement | null>(null);
  const id = useId();
  const close = () => box.current?.hidePopover();

  /** Renders the content from before opening until after closing: the focus cannot return from removed elements. */
  const onBeforeToggle = ({ newState }: any) => {
    if (newState !== "open") return;
    onOpen?.();
    setOpen(true);
  };
  const onToggle = ({ newState }: any) => setOpen(newState === "open");
  useLayoutEffect(() => {
    if (!open) return;
    // Before layout, the panel has no size.
    const frame = requestAnimationFrame(() => {
      placePopover(box.current as HTMLElement, button.current as HTMLElement);
      box.current?.focus({ preventScroll: true });
    });
    return () => cancelAnimationFrame(frame);
  }, [open]);
  useEffect(() => {
    if (!open) return;
    addEventListener("hashchange", close);
    addEventListener("resize", close);
    return () => {
      removeEventListener("hashchange", close);
      removeEventListener("resize", close);
    };
  }, [open]);

  return (
    <>
      <button
        ref={button}
        type="button"
        class={`icon-button ${className}`}
        aria-label={label}
        title={title ?? label}
        aria-haspopup="dialog"
        aria-expanded={open}
        popovertarget={id}
      >
        {icon}
      </button>
      <div
        ref={box}
        id={id}
        popover="auto"
        class="popover"
        role="dialog"
        aria-label={heading}
        tabindex={-1}
        onBeforeToggle={onBeforeToggle}
        onToggle={onToggle}
      >
        {open && panel(close)}
      </div>
    </>
  );
}

/** Places the panel below the button, or above it in the lower half of the window, towards the window's centre. */
export function placePopover(box: HTMLElement, button: HTMLElement) {
  const { left, right, top, bottom } = button.getBoundingClientRect();
  const { clientWidth: width, clientHeight: height } = document.documentElement;
  const start = left + right > width ? right - box.offsetWidth : left;
  const below = bottom + EDGE_PX;
  const above = top + bottom > height ? top - EDGE_PX - box.offsetHeight : below;
  box.style.left = `${Math.max(EDGE_PX, Math.min(start, width - box.offsetWidth - EDGE_PX))}px`;
  box.style.top = `${Math.max(EDGE_PX, Math.min(above, height - box.offsetHeight - EDGE_PX))}px`;
}
