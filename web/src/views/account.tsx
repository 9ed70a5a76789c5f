// The user's own account: profile, password, devices, deletion. Loaded when first opened.
import { useEffect, useRef, useState } from "preact/hooks";
import * as api from "../api";
import { now } from "../clock";
import { t } from "../i18n";
import { messageOf } from "../i18n/errors";
import { ApiError } from "../http";
import { deleteAccount } from "../session";
import { putPerson, self } from "../state/people";
import { toast } from "../state/toasts";
import { deviceName } from "../text/device";
import { ago, exactTime } from "../text/time";
import { closeDialog, Dialog, DialogActions, openDialog } from "./dialog";
import { Field, FormError, useForm } from "./form";
import { PictureField } from "./picture-field";
import type { Session } from "../types";

export function Profile() {
  const user = self.value;
  const [picture, setPicture] = useState<File | null>(null);
  const [removed, setRemoved] = useState(false);
  const form = useForm(async ({ username, email }, isShown) => {
    if (!user) return;
    const changes = {
      ...(username.trim() !== user.username && { newUsername: username.trim() }),
      ...(email.trim() !== user.email && { newEmail: email.trim() }),
    };
    const changed = picture !== null || Object.keys(changes).length > 0;
    if (changed) putPerson(await api.updateUser(user.id, changes, picture));
    if (removed && !picture) {
      await api.removePicture(user.id);
      putPerson({ ...(self.peek() ?? user), profile: null });
    }
    if (changed || removed) toast(t("Your profile has been saved."));
    if (isShown()) closeDialog();
  });
  if (!user) return null;
  const { fieldErrors } = form;
  const onPicture = (chosen: File | null) => {
    form.clear();
    setRemoved(false);
    setPicture(chosen);
  };
  return (
    <Dialog title={t("Your profile")}>
      <form onSubmit={form.onSubmit} onInput={form.clear}>
        <PictureField
          user={removed ? { ...user, profile: null } : user}
          picture={picture}
          onPicture={onPicture}
          onRemove={user.profile && !removed ? () => setRemoved(true) : undefined}
          onUndo={picture || removed ? () => onPicture(null) : undefined}
          fieldError={fieldErrors.profile}
        />
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
        <FormError error={form.error} />
        <DialogActions disabled={form.busy} action={form.busy ? t("Saving…") : t("Save")} />
      </form>
      <div class="dialog-links">
        <button type="button" class="link" onClick={() => openDialog(<ChangePassword />)}>
          {t("Change password")}
        </button>
        <button type="button" class="link" onClick={() => openDialog(<Devices />)}>
          {t("Devices")}
        </button>
        <button type="button" class="link dangerous" onClick={() => openDialog(<DeleteAccount />)}>
          {t("Delete account")}
        </button>
      </div>
    </Dialog>
  );
}

function ChangePassword() {
  const user = self.value;
  const form = useForm(async ({ password, currentPassword }, isShown) => {
    if (!user) return;
    putPerson(await api.updateUser(user.id, { newPassword: password, currentPassword }));
    toast(t("Your password has been changed. Your other devices are signed out."));
    if (isShown()) closeDialog();
  });
  return (
    <Dialog title={t("Change password")}>
      <form onSubmit={form.onSubmit} onInput={form.clear}>
        {/* For password managers. */}
        <input type="text" name="username" autocomplete="username" value={user?.username} hidden readonly />
        <Field
          label={t("Current password")}
          name="currentPassword"
          type="password"
          autocomplete="current-password"
          required
          autofocus
          fieldError={form.fieldErrors.currentPassword}
        />
        <Field
          label={t("New password")}
          name="password"
          type="password"
          autocomplete="new-password"
          required
          hint={t("At least 5 characters. It signs you out everywhere else.")}
          fieldError={form.fieldErrors.newPassword}
        />
        <FormError error={form.error} />
        <DialogActions disabled={form.busy} action={form.busy ? t("Saving…") : t("Change password")} />
      </form>
    </Dialog>
  );
}

function Devices() {
  const [sessions, setSessions] = useState<Session[] | null>(null);
  const [error, setError] = useState<Error | null>(null);
  const [busy, setBusy] = useState(false);
  const box = useRef<HTMLDivElement>(null);
  const attempt = async (work: () => Promise<unknown>) => {
    setBusy(true);
    setError(null);
    try {
      await work();
      setSessions(await api.sessions());
    } catch (caught) {
      setError(caught instanceof Error ? caught : new Error(String(caught)));
    }
    setBusy(false);
  };
  useEffect(() => void attempt(async () => {}), []);
  /** The pressed button disappears. */
  const keepFocus = () => box.current?.focus({ preventScroll: true });
  const end = ({ id }: Session) => {
    keepFocus();
    void attempt(() => api.endSession(id).catch(ignoreEnded));
  };
  const endOthers = () => {
    keepFocus();
    void attempt(api.endOtherSessions);
  };
  return (
    <Dialog title={t("Devices")}>
      <div ref={box} class="devices" tabindex={-1} aria-busy={busy} aria-label={t("Devices")} role="group">
        <p class="lead">{t("You are signed in on these devices. Sign out those that you do not know.")}</p>
        {!sessions && !error && <p class="none">{t("Loading…")}</p>}
        <ul>
          {sessions?.map((session) => (
            <Device key={session.id} session={session} busy={busy} onEnd={end} />
          ))}
        </ul>
        <div role="alert">{error && <p class="form-error">{messageOf(error)}</p>}</div>
      </div>
      <div class="dialog-actions">
        {sessions && sessions.length > 1 && (
          <button type="button" class="danger quiet apart" disabled={busy} onClick={endOthers}>
            {t("Sign out all others")}
          </button>
        )}
        {error && !sessions && (
          <button type="button" class="quiet" disabled={busy} onClick={() => void attempt(async () => {})}>
            {t("Try again")}
          </button>
        )}
        <button type="button" class="quiet" onClick={closeDialog}>
          {t("Close")}
        </button>
      </div>
    </Dialog>
  );
}

/** It has ended by itself. */
function ignoreEnded(error: unknown) {
  if (!(error instanceof ApiError && error.status === 404)) throw error;
}

function Device({ session, busy, onEnd }: { session: Session; busy: boolean; onEnd: (session: Session) => void }) {
  const { device, address, createdAt, lastUsedAt, current } = session;
  const name = deviceName(device) ?? t("Unknown device");
  return (
    <li>
      <span class="device">
        <strong title={device ?? undefined}>{name}</strong>
        <span class="note">
          {address}
          {createdAt && (
            <time datetime={createdAt} title={exactTime(createdAt)}>
              {t("signed in {when}", { when: ago(createdAt, now()) })}
            </time>
          )}
          {lastUsedAt && !current && (
            <time datetime={lastUsedAt} title={exactTime(lastUsedAt)}>
              {t("last used {when}", { when: ago(lastUsedAt, now()) })}
            </time>
          )}
        </span>
      </span>
      {current ? (
        <span class="badge">{t("This device")}</span>
      ) : (
        <button
          type="button"
          class="quiet"
          disabled={busy}
          aria-label={t("Sign out {device}", { device: name })}
          onClick={() => onEnd(session)}
        >
          {t("Sign out")}
        </button>
      )}
    </li>
  );
}

function DeleteAccount() {
  const user = self.value;
  const [typed, setTyped] = useState("");
  const form = useForm(deleteAccount);
  const lastAdmin = form.error instanceof ApiError && form.error.code === "LAST_ADMIN";
  if (!user) return null;
  return (
    <Dialog title={t("Delete your account?")}>
      <form onSubmit={form.onSubmit} onInput={({ target }) => (form.clear(), setTyped((target as any).value))}>
        <p class="lead">
          {t("You are signed out everywhere and cannot sign in again. Your messages stay, without your name.")}{" "}
          {t("This cannot be undone.")}
        </p>
        <Field
          label={t("Your username, to confirm")}
          name="confirmation"
          autocomplete="off"
          autofocus
          hint={user.username}
        />
        <FormError error={form.error} />
        {lastAdmin && <p class="lead">{t("First make somebody else an administrator, under “Administration”.")}</p>}
        <DialogActions dangerous disabled={form.busy || typed.trim() !== user.username} action={t("Delete account")} />
      </form>
    </Dialog>
  );
}
