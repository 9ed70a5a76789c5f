// Modal dialogs, one at a time, on the browser's own <dialog>: it keeps the focus inside and Escape closes it.
import { html, signal, useId, useLayoutEffect, useRef } from "../ui.js";
import { CloseIcon } from "./icons.js";

/** What is in the dialog, null when there is none. */
const content = signal(/** @type {unknown} */ (null));

/** Where the focus was when the dialog opened, or the first of several in a row. @type {Element | null} */
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
    // Only now: while the dialog is on the page, nothing outside it can have the focus.
    if (shown === null && opener instanceof HTMLElement && opener.isConnected) opener.focus({ preventScroll: true });
    if (shown === null) opener = null;
  }, [shown === null]);
  return shown;
}

/** What every modal dialog does. */
export function useModal() {
  const ref = useRef(/** @type {HTMLDialogElement | null} */ (null));
  useLayoutEffect(() => {
    ref.current?.showModal();
    /** @type {HTMLElement | null | undefined} */ (ref.current?.querySelector("[data-autofocus]"))?.focus();
  }, []);
  /** A press on the backdrop is a press on the dialog element itself. @param {MouseEvent} event */
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
 * Asks before something that cannot be undone.
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
