import { useLayoutEffect, useRef, useState } from "preact/hooks";
import { lastUsername, signIn, signUp } from "../session";
import { anyDraft } from "../state/drafts";
import { DropZone } from "./drop-zone";
import { Field, FormError, useForm } from "./form";
import { Logo } from "./icons";
import { PictureField } from "./picture-field";
import type { User } from "../types";

/** A placeholder user before the sign-up. */
const NOBODY: User = { id: "", username: "", email: "", online: null, role: "USER" };

/** `notice`: why the user must sign in again */
export function Auth({ notice }: { notice: string | null }) {
  const [joining, setJoining] = useState(false);
  return (
    <main class="auth">
      <DropZone into={null} />
      <section class="auth-card">
        <header>
          <Logo />
          <h1>{joining ? "Create your account" : "Welcome back"}</h1>
          <p>{joining ? "It takes a name, an address and a password." : "Sign in to go on where you left off."}</p>
        </header>
        {notice && !joining && (
          <p class="form-notice" role="status">
            {notice}
            {anyDraft.value && " Your unsent text is kept for when you sign in again."}
          </p>
        )}
        {joining ? <SignUp key="up" /> : <SignIn key="in" focus={notice === null} />}
        <footer>
          {joining ? "Already have an account? " : "New here? "}
          <button type="button" class="link" onClick={() => setJoining(!joining)}>
            {joining ? "Sign in" : "Create an account"}
          </button>
        </footer>
      </section>
      <p class="auth-foot">Discodeit on {location.host}</p>
    </main>
  );
}

function SignIn({ focus }: { focus: boolean }) {
  const form = useForm(({ username, password }) => signIn(username.trim(), password));
  // A session that ended by itself may have interrupted the typing of a message.
  const ref = useFirstFieldFocus(focus);
  return (
    <form ref={ref} onSubmit={form.onSubmit} onInput={form.clear}>
      <Field
        label="Username"
        name="username"
        value={lastUsername.value}
        autocomplete="username"
        required
        autofocus={!lastUsername.value}
      />
      <Field
        label="Password"
        name="password"
        type="password"
        autocomplete="current-password"
        required
        autofocus={!!lastUsername.value}
      />
      <FormError error={form.error} />
      <button class="primary wide" disabled={form.busy}>
        {form.busy ? "Signing in…" : "Sign in"}
      </button>
    </form>
  );
}

function SignUp() {
  const [name, setName] = useState("");
  const [picture, setPicture] = useState<File | null>(null);
  const form = useForm(({ username, email, password }) =>
    signUp({ username: username.trim(), email: email.trim(), password }, picture),
  );
  const { fieldErrors } = form;
  const onInput = ({ target }: any) => {
    form.clear();
    if (target.name === "username") setName(target.value);
  };
  const ref = useFirstFieldFocus();
  return (
    <form ref={ref} onSubmit={form.onSubmit} onInput={onInput}>
      <PictureField
        user={{ ...NOBODY, username: name || "?" }}
        picture={picture}
        onPicture={setPicture}
        fieldError={fieldErrors.profile}
      />
      <Field
        label="Username"
        name="username"
        autocomplete="username"
        maxlength={50}
        required
        autofocus
        hint="Up to 50 characters. This is the name others see."
        fieldError={fieldErrors.username}
      />
      <Field label="Email" name="email" type="email" autocomplete="email" required fieldError={fieldErrors.email} />
      <Field
        label="Password"
        name="password"
        type="password"
        autocomplete="new-password"
        required
        hint="At least 5 characters."
        fieldError={fieldErrors.password}
      />
      <FormError error={form.error} />
      <button class="primary wide" disabled={form.busy}>
        {form.busy ? "Creating…" : "Create account"}
      </button>
    </form>
  );
}

/** Sets the focus: the autofocus attribute works only once per page. */
function useFirstFieldFocus(wanted = true) {
  const ref = useRef<HTMLFormElement | null>(null);
  useLayoutEffect(() => {
    if (wanted) (ref.current?.querySelector("[data-autofocus]") as HTMLElement | null | undefined)?.focus();
  }, []);
  return ref;
}
