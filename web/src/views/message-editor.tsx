import { useLayoutEffect, useState } from "preact/hooks";
import * as api from "../api";
import { elements, t } from "../i18n";
import { current } from "../state/conversations";
import { editing, returnEditToDraft, stopEditing } from "../state/editing";
import { toast, toastError } from "../state/toasts";
import { Counter, focusComposer, lengthOf, MAX_LENGTH, trimmed, WritingArea } from "./writing";
import type { Message } from "../types";

export function MessageEditor({ message }: { message: Message }) {
  const text = editing.value?.text ?? "";
  const [busy, setBusy] = useState(false);
  const stop = () => {
    if (editing.peek()?.fromComposer) focusComposer(message.channelId);
    stopEditing(message.id);
  };
  const setText = (next: string) => {
    const edit = editing.peek();
    if (edit?.messageId === message.id) editing.value = { ...edit, text: next };
  };
  useLayoutEffect(
    () => () => {
      // The row is gone, although the user did not stop.
      const gone = editing.peek()?.messageId === message.id;
      // The focus does not go to the composer, where Enter would send the text as a new message.
      if (gone && returnEditToDraft()) toast(t("The message you were editing is gone. Your text is in the draft."));
    },
    [message.id],
  );
  const content = trimmed(text);
  const sendable = (content !== "" || (message.attachments?.length ?? 0) > 0) && lengthOf(content) <= MAX_LENGTH;

  const save = async () => {
    if (busy || !sendable) return;
    if (content === message.content) return stop();
    setBusy(true);
    try {
      current.peek()?.update(await api.updateMessage(message.id, content));
      stop();
    } catch (error) {
      toastError(error);
      setBusy(false);
    }
  };

  return (
    <div class="editor">
      <WritingArea
        label={t("Edit message")}
        text={text}
        onText={setText}
        onSubmit={save}
        onEscape={stop}
        focus={message.id}
      />
      <div class="editor-foot">
        <span>
          {elements("Escape to {cancel}, Enter to {save}", {
            cancel: (
              <button type="button" class="link" onClick={stop}>
                {t("cancel")}
              </button>
            ),
            save: (
              <button type="button" class="link" disabled={!sendable || busy} onClick={save}>
                {t("save")}
              </button>
            ),
          })}
        </span>
        <Counter length={lengthOf(content)} />
      </div>
    </div>
  );
}
