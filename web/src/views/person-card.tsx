// The card of a person. An element names its person with `data-person`: a click on it opens the card, and so does the mouse
// that rests on it, or the focus that comes with Tab.
import { signal } from "@preact/signals";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { t } from "../i18n";
import { toast } from "../state/toasts";
import type { PersonDetails } from "./person-details";

/** The mouse or the focus rests this long before the card opens. */
const REST_MS = 450;
/** Time for the way of the mouse to the card. */
const LEAVE_MS = 250;
const EDGE_PX = 8;

interface Card {
  userId: string;
  anchor: HTMLElement;
  /** It was opened with a click: it has the focus, and stays. */
  held: boolean;
}

const card = signal<Card | null>(null);

let timer: ReturnType<typeof setTimeout> | undefined;

function later(ms: number, work: () => void) {
  clearTimeout(timer);
  timer = setTimeout(work, ms);
}

const inside = (target: EventTarget | null, selector: string) =>
  target instanceof Element ? target.closest<HTMLElement>(selector) : null;
const anchorOf = (target: EventTarget | null) => inside(target, "[data-person]");

export function PersonCards() {
  const [Details, setDetails] = useState<{ view: typeof PersonDetails } | null>(null);
  const box = useRef<HTMLDivElement>(null);
  const shown = card.value;

  const open = async (anchor: HTMLElement, held: boolean) => {
    const userId = anchor.dataset.person ?? "";
    if (!Details) {
      const chunk = await import("./person-details").catch(() => null);
      if (!chunk) {
        if (held) toast(t("This part of the app could not be loaded. Try again, or reload the page."), "error");
        return;
      }
      setDetails({ view: chunk.PersonDetails });
    }
    if (anchor.isConnected) card.value = { userId, anchor, held };
  };
  useTriggers(open, box);

  useLayoutEffect(() => {
    if (!shown || !Details || !box.current) return;
    if (!box.current.matches(":popover-open")) box.current.showPopover();
    place(box.current, shown.anchor);
    if (shown.held) box.current.focus({ preventScroll: true });
  }, [shown, Details]);

  const onToggle = ({ newState }: any) => {
    if (newState === "closed") card.value = null;
  };
  return (
    <div
      ref={box}
      popover="auto"
      class="popover person-card"
      role="dialog"
      aria-label={t("Profile")}
      tabindex={-1}
      onToggle={onToggle}
      onPointerEnter={() => clearTimeout(timer)}
    >
      {shown && Details && <Details.view userId={shown.userId} close={() => box.current?.hidePopover()} />}
    </div>
  );
}

function useTriggers(open: (anchor: HTMLElement, held: boolean) => void, box: { current: HTMLDivElement | null }) {
  const latest = useRef(open);
  latest.current = open;
  useEffect(() => {
    let tabbed = -Infinity;
    let pressed = -Infinity;
    let closed: { anchor: HTMLElement | null; at: number } = { anchor: null, at: -Infinity };
    const close = () => {
      clearTimeout(timer);
      box.current?.hidePopover();
    };
    const rest = (anchor: HTMLElement) => {
      // Another panel is in use.
      if (document.querySelector(":popover-open:not(.person-card), dialog[open]")) return;
      if (!card.peek()?.held) later(REST_MS, () => latest.current(anchor, false));
    };
    const leave = () => {
      clearTimeout(timer);
      if (card.peek() && !card.peek()?.held) later(LEAVE_MS, close);
    };
    const onPointerOver = ({ target, pointerType }: PointerEvent) => {
      if (pointerType !== "mouse" || inside(target, ".person-card")) return;
      const anchor = anchorOf(target);
      if (!anchor) return leave();
      if (card.peek()?.anchor === anchor) clearTimeout(timer);
      else rest(anchor);
    };
    const onKeyDown = ({ key, timeStamp }: KeyboardEvent) => {
      if (key === "Tab") tabbed = timeStamp;
    };
    const onPointerDown = ({ timeStamp }: PointerEvent) => (pressed = timeStamp);
    const onFocusIn = ({ target, timeStamp }: FocusEvent) => {
      const anchor = anchorOf(target);
      // Not the focus that returns from the card or from a dialog.
      if (anchor && timeStamp - tabbed < 100) rest(anchor);
      else if (!inside(target, ".person-card")) leave();
    };
    const onBeforeToggle = ({ target, timeStamp, newState }: any) => {
      if (target !== box.current || newState === "open") return;
      closed = { anchor: card.peek()?.held ? (card.peek()?.anchor ?? null) : null, at: timeStamp };
    };
    const onClick = (event: MouseEvent) => {
      const anchor = anchorOf(event.target);
      if (!anchor) return;
      clearTimeout(timer);
      // The press of this click has closed the card.
      if (anchor === closed.anchor && closed.at >= pressed) return;
      latest.current(anchor, true);
    };
    const onScroll = ({ target }: Event) => {
      const open = card.peek();
      if (open && !open.held && target instanceof Element && target.contains(open.anchor)) close();
    };
    const events: [string, (event: any) => void][] = [
      ["pointerover", onPointerOver],
      ["pointerdown", onPointerDown],
      ["keydown", onKeyDown],
      ["focusin", onFocusIn],
      ["beforetoggle", onBeforeToggle],
      ["click", onClick],
      ["scroll", onScroll],
    ];
    // In the capture phase, because some of these do not bubble.
    for (const [name, handler] of events) document.addEventListener(name, handler, { capture: true, passive: true });
    addEventListener("hashchange", close);
    addEventListener("resize", close);
    return () => {
      for (const [name, handler] of events) document.removeEventListener(name, handler, { capture: true });
      removeEventListener("hashchange", close);
      removeEventListener("resize", close);
      clearTimeout(timer);
      card.value = null;
    };
  }, []);
}

/** Beside the element, or below it where there is no room. */
function place(box: HTMLElement, anchor: HTMLElement) {
  const { left, right, top, bottom } = anchor.getBoundingClientRect();
  const { clientWidth, clientHeight } = document.documentElement;
  const { offsetWidth: width, offsetHeight: height } = box;
  const within = (wanted: number, size: number, most: number) =>
    `${Math.max(EDGE_PX, Math.min(wanted, most - size - EDGE_PX))}px`;
  const fitsRight = right + EDGE_PX + width + EDGE_PX <= clientWidth;
  const fitsLeft = left - EDGE_PX - width >= EDGE_PX;
  const x = fitsRight ? right + EDGE_PX : fitsLeft ? left - EDGE_PX - width : left;
  const fitsBelow = bottom + EDGE_PX + height + EDGE_PX <= clientHeight;
  const y = fitsRight || fitsLeft ? top : fitsBelow ? bottom + EDGE_PX : top - EDGE_PX - height;
  box.style.left = within(x, width, clientWidth);
  box.style.top = within(y, height, clientHeight);
}
