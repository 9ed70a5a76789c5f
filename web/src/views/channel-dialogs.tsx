// Dialogs of channels. Loaded when first opened.
import * as api from "../api";
import { t } from "../i18n";
import { goToChannel } from "../route";
import { me } from "../session";
import { dropChannel, isGroup, putChannel, refreshChannels } from "../state/channels";
import { toastError } from "../state/toasts";
import { closeDialog, Confirm, Dialog, DialogActions, openDialog } from "./dialog";
import { Field, FormError, useForm } from "./form";
import type { Channel } from "../types";

export function CreateChannel() {
  const form = useForm(async ({ name, description }, isShown) => {
    const channel = await api.createPublicChannel(name.trim(), description.trim());
    await refreshChannels();
    if (!isShown()) return;
    closeDialog();
    goToChannel(channel.id);
  });
  return (
    <Dialog title={t("Create a channel")}>
      <form onSubmit={form.onSubmit} onInput={form.clear}>
        <p class="lead">{t("Everybody on this server can read it and write in it.")}</p>
        <ChannelFields fieldErrors={form.fieldErrors} />
        <FormError error={form.error} />
        <DialogActions disabled={form.busy} action={t("Create channel")} />
      </form>
    </Dialog>
  );
}

/** `channel`: a public one. */
export function EditChannel({ channel }: { channel: Channel }) {
  const form = useForm(async ({ name, description }, isShown) => {
    putChannel(await api.updateChannel(channel.id, name.trim(), description.trim()));
    if (isShown()) closeDialog();
  });
  return (
    <Dialog title={t("Edit #{name}", { name: channel.name ?? "" })}>
      <form onSubmit={form.onSubmit} onInput={form.clear}>
        <ChannelFields channel={channel} fieldErrors={form.fieldErrors} />
        <FormError error={form.error} />
        <DialogActions disabled={form.busy} action={t("Save")}>
          <button type="button" class="danger quiet apart" onClick={() => askToDelete(channel)}>
            {t("Delete channel")}
          </button>
        </DialogActions>
      </form>
    </Dialog>
  );
}

function ChannelFields({ channel, fieldErrors }: { channel?: Channel; fieldErrors: Record<string, string> }) {
  return (
    <>
      <Field
        label={t("Name")}
        name="name"
        value={channel?.name ?? ""}
        maxlength={100}
        required
        autofocus
        autocomplete="off"
        fieldError={fieldErrors.name ?? fieldErrors.newName}
      />
      <Field
        label={t("Description")}
        name="description"
        value={channel?.description ?? ""}
        maxlength={500}
        multiline
        hint={t("What it is about. May be left empty.")}
        fieldError={fieldErrors.description ?? fieldErrors.newDescription}
      />
    </>
  );
}

/** Replaces the open dialog, if any. */
export function askToDelete(channel: Channel) {
  const title =
    channel.type === "PUBLIC"
      ? t("Delete #{name}?", { name: channel.name ?? "" })
      : t("Delete this private conversation?");
  const remove = () => api.deleteChannel(channel.id).then(() => dropChannel(channel.id), toastError);
  openDialog(
    <Confirm key="delete" title={title} action={t("Delete")} onConfirm={remove}>
      <p class="lead">{t("All of its messages go with it, for everybody. This cannot be undone.")}</p>
    </Confirm>,
  );
}

/** @param channel a private one */
export function askToLeave(channel: Channel) {
  const self = me.peek()?.id ?? "";
  const last = channel.participants.every((user) => user.id === self);
  const leave = () => api.removeParticipant(channel.id, self).then(() => dropChannel(channel.id), toastError);
  openDialog(
    <Confirm key="leave" title={t("Leave this private conversation?")} action={t("Leave")} onConfirm={leave}>
      <p class="lead">
        {last
          ? t("Nobody else is in it, so all of its messages go with it. This cannot be undone.")
          : isGroup(channel)
            ? t("You will not see its messages any more, unless somebody in it adds you again.")
            : t("You will not see its messages any more, and nobody can let you in again.")}
      </p>
    </Confirm>,
  );
}
