// The place of the search, whose code is loaded when it is first opened, and its key.
import { useEffect, useState } from "preact/hooks";
import { t } from "../i18n";
import { closeDrawer, searchOpen } from "../state/drawers";
import { toast } from "../state/toasts";
import type { FunctionComponent } from "preact";

const field = () => document.querySelector(".search-panel input[type=search]") as HTMLElement | null;

export function toggleSearch() {
  closeDrawer();
  searchOpen.value = !searchOpen.peek();
}

export function SearchHost() {
  const [Panel, setPanel] = useState<FunctionComponent | null>(null);
  const open = searchOpen.value;
  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      if (!(event.ctrlKey || event.metaKey) || event.altKey || event.shiftKey || event.key.toLowerCase() !== "f")
        return;
      // The second time, the browser searches in the page.
      if (document.activeElement === field() && field()) return;
      if (document.querySelector("dialog[open]")) return;
      event.preventDefault();
      closeDrawer();
      searchOpen.value = true;
      field()?.focus();
    };
    addEventListener("keydown", onKey);
    return () => {
      removeEventListener("keydown", onKey);
      searchOpen.value = false;
    };
  }, []);
  useEffect(() => {
    if (!open || Panel) return;
    import("./search-panel").then(
      ({ SearchPanel }) => setPanel(() => SearchPanel),
      () => {
        searchOpen.value = false;
        toast(t("This part of the app could not be loaded. Try again, or reload the page."), "error");
      },
    );
  }, [open, Panel]);
  return open && Panel ? <Panel /> : null;
}
