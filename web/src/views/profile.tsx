// The user's own profile: picture, name, email, password.
import { useState } from "preact/hooks";
import * as api from "../api";
import { t } from "../i18n";
import { putPerson, self } from "../state/people";
import { toast } from "../state/toasts";
import { closeDialog, Dialog } from "./dialog";
import { Field, FormError, useForm } from "./form";
import { PictureField } from "./picture-field";

export function Profile() {
  const user = self.value;
  const [picture, setPicture] = useState<File | null>(null);
  const form = useForm(async ({ username, email, password }, isShown) => {
    if (!user) return;
    const changes = {
      ...(username.trim() !== user.username && { newUsername: username.trim() }),
      ...(email.trim() !== user.email && { newEmail: email.trim() }),
      ...(password && { newPassword: password }),
    };
    if (picture || Object.keys(changes).length) {
      putPerson(await api.updateUser(user.id, changes, picture));
      toast(t("Your profile has been saved."));
    }
    if (isShown()) closeDialog();
  });
  if (!user) return null;
  const { fieldErrors } = form;
  const onPicture = (chosen: File | null) => {
    form.clear();
    setPicture(chosen);
  };
  return (
    <Dialog title={t("Your profile")}>
      <form onSubmit={form.onSubmit} onInput={form.clear}>
        <PictureField user={user} picture={picture} onPicture={onPicture} fieldError={fieldErrors.profile} />
        <Field
          label={t("Username")}
          name="username"
          value={user.username}
          autocomplete="username"
          maxlength={50}
          required
          fieldError={fieldErrors.newUsername}
        />
        <Field
          label={t("Email")}
          name="email"
          type="email"
          value={user.email}
          autocomplete="email"
          required
          fieldError={fieldErrors.newEmail}
        />
        <Field
          label={t("New password")}
          name="password"
          type="password"
          autocomplete="new-password"
          hint={t("Only if you want another one. It signs you out everywhere else.")}
          fieldError={fieldErrors.newPassword}
        />
        <FormError error={form.error} />
        <div class="dialog-actions">
          <button type="button" class="quiet" onClick={closeDialog}>
            {t("Cancel")}
          </button>
          <button class="primary" disabled={form.busy}>
            {form.busy ? t("Saving…") : t("Save")}
          </button>
        </div>
      </form>
    </Dialog>
  );
}
