import { signIn, signUp } from "../session.js";
import { anyDraft } from "../state/drafts.js";
import { html, useLayoutEffect, useRef, useState } from "../ui.js";
import { DropZone } from "./drop-zone.js";
import { Field, FormError, useForm } from "./form.js";
import { Logo } from "./icons.js";
import { PictureField } from "./picture-field.js";

/** A placeholder user before the sign-up. @type {import("../types.js").User} */
const NOBODY = { id: "", username: "", email: "", online: null, role: "USER" };

/** @param {{notice: string | null}} props why the user must sign in again */
export function Auth({ notice }) {
  const [joining, setJoining] = useState(false);
  return html`
    <main class="auth">
      <${DropZone} into=${null} />
      <section class="auth-card">
        <header>
          <${Logo} />
          <h1>${joining ? "Create your account" : "Welcome back"}</h1>
          <p>${joining ? "It takes a name, an address and a password." : "Sign in to go on where you left off."}</p>
        </header>
        ${notice && !joining && html`<p class="form-notice" role="status">
          ${notice}${anyDraft.value && " Your unsent text is kept for when you sign in again."}
        </p>`}
        ${joining ? html`<${SignUp} key="up" />` : html`<${SignIn} key="in" focus=${notice === null} />`}
        <footer>
          ${joining ? "Already have an account? " : "New here? "}
          <button type="button" class="link" onClick=${() => setJoining(!joining)}>
            ${joining ? "Sign in" : "Create an account"}
          </button>
        </footer>
      </section>
      <p class="auth-foot">Discodeit on ${location.host}</p>
    </main>
  `;
}

/** @param {{focus: boolean}} props */
function SignIn({ focus }) {
  const form = useForm(({ username, password }) => signIn(username.trim(), password));
  // A session that ended by itself may have interrupted the typing of a message.
  const ref = useFirstFieldFocus(focus);
  return html`
    <form ref=${ref} onSubmit=${form.onSubmit} onInput=${form.clear}>
      <${Field} label="Username" name="username" autocomplete="username" required autofocus />
      <${Field} label="Password" name="password" type="password" autocomplete="current-password" required />
      <${FormError} error=${form.error} />
      <button class="primary wide" disabled=${form.busy}>${form.busy ? "Signing in…" : "Sign in"}</button>
    </form>
  `;
}

function SignUp() {
  const [name, setName] = useState("");
  const [picture, setPicture] = useState(/** @type {File | null} */ (null));
  const form = useForm(({ username, email, password }) =>
    signUp({ username: username.trim(), email: email.trim(), password }, picture),
  );
  const { fieldErrors } = form;
  /** @param {any} event */
  const onInput = ({ target }) => {
    form.clear();
    if (target.name === "username") setName(target.value);
  };
  const ref = useFirstFieldFocus();
  return html`
    <form ref=${ref} onSubmit=${form.onSubmit} onInput=${onInput}>
      <${PictureField} user=${{ ...NOBODY, username: name || "?" }} picture=${picture} onPicture=${setPicture}
        fieldError=${fieldErrors.profile} />
      <${Field} label="Username" name="username" autocomplete="username" maxlength=${50} required autofocus
        hint="Up to 50 characters. This is the name others see." fieldError=${fieldErrors.username} />
      <${Field} label="Email" name="email" type="email" autocomplete="email" required fieldError=${fieldErrors.email} />
      <${Field} label="Password" name="password" type="password" autocomplete="new-password" required
        hint="At least 5 characters." fieldError=${fieldErrors.password} />
      <${FormError} error=${form.error} />
      <button class="primary wide" disabled=${form.busy}>${form.busy ? "Creating…" : "Create account"}</button>
    </form>
  `;
}

/** Sets the focus: the autofocus attribute works only once per page. @param {boolean} [wanted] */
function useFirstFieldFocus(wanted = true) {
  const ref = useRef(/** @type {HTMLFormElement | null} */ (null));
  useLayoutEffect(() => {
    if (wanted) /** @type {HTMLElement | null | undefined} */ (ref.current?.querySelector("[data-autofocus]"))?.focus();
  }, []);
  return ref;
}
