// Modal dialogs, one at a time, with <dialog>, which traps the focus and closes on Escape.
import { html, signal, useId, useLayoutEffect, useRef } from "../ui.js";
import { CloseIcon } from "./icons.js";

/** The content of the open dialog, or null. */
const content = signal(/** @type {unknown} */ (null));

/** The focused element before the dialog, or before the first of several dialogs. @type {Element | null} */
let opener = null;

/** @param {unknown} vnode a component that renders a Dialog */
export function openDialog(vnode) {
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
  const ref = useRef(/** @type {HTMLDialogElement | null} */ (null));
  useLayoutEffect(() => {
    ref.current?.showModal();
    /** @type {HTMLElement | null | undefined} */ (ref.current?.querySelector("[data-autofocus]"))?.focus();
  }, []);
  /** A click on the backdrop targets the dialog element. @param {MouseEvent} event */
  const onPress = (event) => event.target === ref.current && closeDialog();
  return { ref, onPress };
}

/** @param {{title: string, children?: unknown}} props */
export function Dialog({ title, children }) {
  const { ref, onPress } = useModal();
  const id = useId();
  return html`
    <dialog ref=${ref} class="dialog" aria-labelledby=${id} onClose=${closeDialog} onMouseDown=${onPress}>
      <div class="dialog-body">
        <header>
          <h2 id=${id}>${title}</h2>
          <button type="button" class="icon-button" aria-label="Close" onClick=${closeDialog}><${CloseIcon} /></button>
        </header>
        ${children}
      </div>
    </dialog>
  `;
}

/**
 * Asks for confirmation of an irreversible action.
 *
 * @param {{title: string, action: string, onConfirm: () => Promise<unknown>, children?: unknown}} props
 */
export function Confirm({ title, action, onConfirm, children }) {
  /** @param {SubmitEvent} event */
  const confirm = (event) => {
    event.preventDefault();
    closeDialog();
    void onConfirm();
  };
  return html`
    <${Dialog} title=${title}>
      <form onSubmit=${confirm}>
        ${children}
        <div class="dialog-actions">
          <button type="button" class="quiet" onClick=${closeDialog}>Cancel</button>
          <button class="danger" data-autofocus>${action}</button>
        </div>
      </form>
    <//>
  `;
}
