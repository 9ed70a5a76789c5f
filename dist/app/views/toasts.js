import { dismiss, toasts } from "../state/toasts.js";
import { html } from "../ui.js";
import { CloseIcon } from "./icons.js";

export function Toasts() {
  return html`
    <div class="toasts" role="status" aria-live="polite">
      ${toasts.value.map(
        (toast) => html`
          <div key=${toast.id} class=${`toast ${toast.kind}`}>
            <span>${toast.text}</span>
            <button type="button" class="icon-button" aria-label="Dismiss" onClick=${() => dismiss(toast.id)}>
              <${CloseIcon} />
            </button>
          </div>
        `,
      )}
    </div>
  `;
}
