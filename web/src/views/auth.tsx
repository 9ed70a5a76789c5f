import { useLayoutEffect, useRef, useState } from "preact/hooks";
import { t } from "../i18n";
import { lastUsername, signIn, signUp } from "../session";
import { anyDraft } from "../state/drafts";
import { LanguageChoice } from "./choice";
import { DropZone } from "./drop-zone";
import { Field, FormError, useForm } from "./form";
import { Logo } from "./icons";
import { PictureField } from "./picture-field";
import type { User } from "../types";

/** A placeholder user before the sign-up. */
const NOBODY: User = { id: "", username: "", email: "", online: null, role: "USER" };

/** `notice`: why the user must sign in again */
export function Auth({ notice }: { notice: (() => string) | null }) {
  const [joining, setJoining] = useState(false);
  return (
    <main class="auth">
      <DropZone into={null} />
      <section class="auth-card">
        <header>
          <Logo />
          <h1>{joining ? t("Create your account") : t("Welcome back")}</h1>
          <p>
            {joining ? t("It takes a name, an address and a password.") : t("Sign in to go on where you left off.")}
          </p>
        </header>
        {notice && !joining && (
          <p class="form-notice" role="status">
            {notice()}
            {anyDraft.value && ` ${t("Your unsent text is kept for when you sign in again.")}`}
          </p>
        )}
        {joining ? <SignUp key="up" /> : <SignIn key="in" focus={notice === null} />}
        <footer>
          {joining ? t("Already have an account?") : t("New here?")}{" "}
          <button type="button" class="link" onClick={() => setJoining(!joining)}>
            {joining ? t("Sign in") : t("Create an account")}
          </button>
        </footer>
      </section>
      <div class="auth-language">
        <LanguageChoice />
      </div>
      <p class="auth-foot">{t("Discodeit on {host}", { host: location.host })}</p>
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
        label={t("Username")}
        name="username"
        value={lastUsername.value}
        autocomplete="username"
        required
        autofocus={!lastUsername.value}
      />
      <Field
        label={t("Password")}
        name="password"
        type="password"
        autocomplete="current-password"
        required
        autofocus={!!lastUsername.value}
      />
      <FormError error={form.error} />
      <button class="primary wide" disabled={form.busy}>
        {form.busy ? t("Signing in…") : t("Sign in")}
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
        onUndo={picture ? () => setPicture(null) : undefined}
        fieldError={fieldErrors.profile}
      />
      <Field
        label={t("Username")}
        name="username"
        autocomplete="username"
        maxlength={50}
        required
        autofocus
        hint={t("Up to 50 characters. This is the name others see.")}
        fieldError={fieldErrors.username}
      />
      <Field
        label={t("Email")}
        name="email"
        type="email"
        autocomplete="email"
        required
        fieldError={fieldErrors.email}
      />
      <Field
        label={t("Password")}
        name="password"
        type="password"
        autocomplete="new-password"
        required
        hint={t("At least 5 characters.")}
        fieldError={fieldErrors.password}
      />
      <FormError error={form.error} />
      <button class="primary wide" disabled={form.busy}>
        {form.busy ? t("Creating…") : t("Create account")}
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
