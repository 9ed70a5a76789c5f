// The place of the emoji picker, whose code and list are loaded when it is first opened.
import { signal } from "@preact/signals";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { t } from "../i18n";
import { placePopover } from "./popover";
import type { FunctionComponent } from "preact";

export interface PickerProps {
  onPick: (emoji: string) => void;
}

interface Request {
  anchor: HTMLElement;
  onPick: (emoji: string) => void;
}

const request = signal<Request | null>(null);

/** @param anchor a button, which gets the focus back */
export function openEmojiPicker(anchor: HTMLElement, onPick: (emoji: string) => void) {
  request.value = { anchor, onPick };
}

export function EmojiHost() {
  const asked = request.value;
  return asked && <Panel key={asked.anchor} {...asked} />;
}

function Panel({ anchor, onPick }: Request) {
  const box = useRef<HTMLDivElement | null>(null);
  const [Picker, setPicker] = useState<FunctionComponent<PickerProps> | null>(null);
  const [failed, setFailed] = useState(false);
  useEffect(() => {
    import("../emoji/picker").then(
      ({ EmojiPicker }) => setPicker(() => EmojiPicker),
      () => setFailed(true),
    );
  }, []);
  useLayoutEffect(() => {
    const panel = box.current as HTMLElement;
    panel.showPopover();
    placePopover(panel, anchor);
    panel.focus({ preventScroll: true });
    const close = () => panel.hidePopover();
    addEventListener("resize", close);
    addEventListener("hashchange", close);
    return () => {
      removeEventListener("resize", close);
      removeEventListener("hashchange", close);
    };
  }, []);
  const onToggle = ({ newState }: any) => {
    if (newState === "closed") request.value = null;
  };
  const pick = (emoji: string) => {
    box.current?.hidePopover();
    // Before the choice, which may move it.
    if (anchor.isConnected) anchor.focus({ preventScroll: true });
    onPick(emoji);
  };
  return (
    <div
      ref={box}
      popover="auto"
      class="popover emoji-popover"
      role="dialog"
      aria-label={t("Choose an emoji")}
      tabindex={-1}
      onToggle={onToggle}
    >
      {Picker && <Picker onPick={pick} />}
      {!Picker && <p class="none">{failed ? t("The emoji could not be loaded.") : t("Loading…")}</p>}
    </div>
  );
}
