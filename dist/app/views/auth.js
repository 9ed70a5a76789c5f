import { signIn, signUp } from "../session.js";
import { html, useLayoutEffect, useRef, useState } from "../ui.js";
import { Field, FormError, useForm } from "./form.js";
import { Logo } from "./icons.js";
import { PictureField } from "./picture-field.js";

/** Who signs up, before there is an account. @type {import("../types.js").User} */
const NOBODY = { id: "", username: "", email: "", online: null, role: "USER" };

/** @param {{notice: string | null}} props why one has to sign in again */
export function Auth({ notice }) {
  const [joining, setJoining] = useState(false);
  return html`
    <main class="auth">
      <section class="auth-card">
        <header>
          <${Logo} />
          <h1>${joining ? "Create your account" : "Welcome back"}</h1>
          <p>${joining ? "It takes a name, an address and a password." : "Sign in to go on where you left off."}</p>
        </header>
        ${notice && !joining && html`<p class="form-notice" role="status">${notice}</p>`}
        ${joining ? html`<${SignUp} key="up" />` : html`<${SignIn} key="in" />`}
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

function SignIn() {
  const form = useForm(({ username, password }) => signIn(username.trim(), password));
  const ref = useFirstFieldFocus();
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
  const { complaints } = form;
  /** @param {any} event */
  const onInput = ({ target }) => {
    form.clear();
    if (target.name === "username") setName(target.value);
  };
  const ref = useFirstFieldFocus();
  return html`
    <form ref=${ref} onSubmit=${form.onSubmit} onInput=${onInput}>
      <${PictureField} user=${{ ...NOBODY, username: name || "?" }} picture=${picture} onPicture=${setPicture}
        complaint=${complaints.profile} />
      <${Field} label="Username" name="username" autocomplete="username" maxlength=${50} required autofocus
        hint="Up to 50 characters. This is the name others see." complaint=${complaints.username} />
      <${Field} label="Email" name="email" type="email" autocomplete="email" required complaint=${complaints.email} />
      <${Field} label="Password" name="password" type="password" autocomplete="new-password" required
        hint="At least 5 characters." complaint=${complaints.password} />
      <${FormError} error=${form.error} />
      <button class="primary wide" disabled=${form.busy}>${form.busy ? "Creating…" : "Create account"}</button>
    </form>
  `;
}

/** The autofocus attribute works once per page; these forms come and go. */
function useFirstFieldFocus() {
  const ref = useRef(/** @type {HTMLFormElement | null} */ (null));
  useLayoutEffect(() => {
    /** @type {HTMLElement | null | undefined} */ (ref.current?.querySelector("[data-autofocus]"))?.focus();
  }, []);
  return ref;
}
