// Forms: one request at a time, with errors shown at their fields.
import { ApiError } from "../http.js";
import { html, useEffect, useId, useRef, useState } from "../ui.js";

/**
 * @param {(values: Record<string, string>, isShown: () => boolean) => Promise<unknown>} submit `isShown`: false when the
 *   user has closed the form during the request. The user does something else then, and must not be interrupted
 * @returns {{busy: boolean, error: ApiError | Error | null, fieldErrors: Record<string, string>,
 *   onSubmit: (event: SubmitEvent) => Promise<void>, clear: () => void}}
 */
export function useForm(submit) {
  const [busy, setBusy] = useState(false);
  const shown = useRef(true);
  useEffect(() => () => void (shown.current = false), []);
  const [error, setError] = useState(/** @type {ApiError | Error | null} */ (null));

  /** @param {SubmitEvent} event */
  const onSubmit = async (event) => {
    event.preventDefault();
    if (busy) return;
    const form = /** @type {HTMLFormElement} */ (event.currentTarget);
    const values = Object.fromEntries([...new FormData(form)].map(([name, value]) => [name, String(value)]));
    setBusy(true);
    setError(null);
    try {
      await submit(values, () => shown.current);
    } catch (caught) {
      if (!(caught instanceof ApiError)) console.error(caught);
      setError(caught instanceof Error ? caught : new Error(String(caught)));
    }
    setBusy(false);
  };

  const details = error instanceof ApiError ? error.details : {};
  return { busy, error, fieldErrors: details, onSubmit, clear: () => setError(null) };
}

/**
 * @param {{label: string, name: string, type?: string, value?: string, hint?: string, fieldError?: unknown,
 *   autocomplete?: string, required?: boolean, maxlength?: number, autofocus?: boolean, multiline?: boolean}} props
 */
export function Field({ label, name, type = "text", value = "", hint, fieldError, autofocus, multiline, ...rest }) {
  const id = useId();
  const wrong = typeof fieldError === "string";
  const attributes = {
    id,
    name,
    defaultValue: value,
    "aria-invalid": wrong,
    "aria-describedby": wrong || hint ? `${id}-note` : undefined,
    "data-autofocus": autofocus,
    ...rest,
  };
  return html`
    <div class="field">
      <label for=${id}>${label}</label>
      ${multiline ? html`<textarea rows="3" ...${attributes}></textarea>` : html`<input type=${type} ...${attributes} />`}
      ${(wrong || hint) && html`<p id=${`${id}-note`} class=${wrong ? "note wrong" : "note"}>${wrong ? fieldError : hint}</p>`}
    </div>
  `;
}

/** @param {{error: Error | null}} props */
export function FormError({ error }) {
  return html`<div role="alert">${error && html`<p class="form-error">${error.message}</p>`}</div>`;
}
