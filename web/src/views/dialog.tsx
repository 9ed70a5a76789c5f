// Modal dialogs, one at a time, with <dialog>, which traps the focus and closes on Escape.
import { signal } from "@preact/signals";
import { useId, useLayoutEffect, useRef } from "preact/hooks";
import { t } from "../i18n";
import type { ComponentChildren } from "preact";
import { CloseIcon } from "./icons";

/** The content of the open dialog, or null. */
const content = signal<ComponentChildren>(null);

/** The focused element before the dialog, or before the first of several dialogs. */
let opener: Element | null = null;

/** @param vnode a component that renders a Dialog */
export function openDialog(vnode: ComponentChildren) {
  if (content.peek() === null) opener = document.activeElement;
  content.value = vnode;
}

export const closeDialog = () => (content.value = null);

addEventListener("hashchange", closeDialog);

export function DialogHost() {
  const shown = content.value;
  useLayoutEffect(() => {
    // Elements outside can have the focus only after the dialog is removed.
    if (shown === null && opener instanceof HTMLElement && opener.isConnected) opener.focus({ preventScroll: true });
    if (shown === null) opener = null;
  }, [shown === null]);
  return shown;
}

/** A modal dialog. */
export function useModal() {
  const ref = useRef<HTMLDialogElement | null>(null);
  useLayoutEffect(() => {
    ref.current?.showModal();
    (ref.current?.querySelector("[data-autofocus]") as HTMLElement | null | undefined)?.focus();
  }, []);
  /** A click on the backdrop targets the dialog element. */
  const onPress = (event: MouseEvent) => event.target === ref.current && closeDialog();
  return { ref, onPress };
}

export function Dialog({ title, children }: { title: string; children?: ComponentChildren }) {
  const { ref, onPress } = useModal();
  const id = useId();
  return (
    <dialog ref={ref} class="dialog" aria-labelledby={id} onClose={closeDialog} onMouseDown={onPress}>
      <div class="dialog-body">
        <header>
          <h2 id={id}>{title}</h2>
          <button type="button" class="icon-button" aria-label={t("Close")} onClick={closeDialog}>
            <CloseIcon />
          </button>
        </header>
        {children}
      </div>
    </dialog>
  );
}

/** The buttons of a form in a dialog. The children stand before them. */
export function DialogActions({
  action,
  disabled,
  dangerous,
  autofocus,
  children,
}: {
  action: string;
  disabled?: boolean;
  dangerous?: boolean;
  autofocus?: boolean;
  children?: ComponentChildren;
}) {
  return (
    <div class="dialog-actions">
      {children}
      <button type="button" class="quiet" onClick={closeDialog}>
        {t("Cancel")}
      </button>
      <button class={dangerous ? "danger" : "primary"} disabled={disabled} data-autofocus={autofocus}>
        {action}
      </button>
    </div>
  );
}

/** Asks for confirmation of an irreversible action. */
export function Confirm({
  title,
  action,
  onConfirm,
  children,
}: {
  title: string;
  action: string;
  onConfirm: () => Promise<unknown>;
  children?: ComponentChildren;
}) {
  const confirm = (event: SubmitEvent) => {
    event.preventDefault();
    closeDialog();
    void onConfirm();
  };
  return (
    <Dialog title={title}>
      <form onSubmit={confirm}>
        {children}
        <DialogActions dangerous autofocus action={action} />
      </form>
    </Dialog>
  );
}
