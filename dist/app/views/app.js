import { notice, phase } from "../session.js";
import { html } from "../ui.js";
import { Auth } from "./auth.js";
import { Logo } from "./icons.js";
import { Shell } from "./shell.js";
import { Toasts } from "./toasts.js";

export function App() {
  return html`
    ${phase.value === "signed-in" && html`<${Shell} />`}
    ${phase.value === "signed-out" && html`<${Auth} notice=${notice.value} />`}
    ${phase.value === "starting" && html`<${Splash} />`}
    ${phase.value === "unreachable" && html`<${Splash} text="The server cannot be reached. Trying again…" />`}
    <${Toasts} />
  `;
}

/** @param {{text?: string}} props */
function Splash({ text }) {
  return html`
    <main class="splash" aria-busy="true">
      <${Logo} />
      <p role="status">${text}</p>
    </main>
  `;
}
