// A form field for a profile picture.
import { useEffect, useId, useState } from "preact/hooks";
import { t } from "../i18n";
import { PICTURE_TYPES, portrait } from "../picture";
import { Avatar } from "./avatar";
import type { User } from "../types";

/** `user`: the owner of the current picture */
export function PictureField({
  user,
  picture,
  onPicture,
  onRemove,
  onUndo,
  fieldError,
}: {
  user: User;
  picture: File | null;
  onPicture: (picture: File) => void;
  /** Removes the present picture. */
  onRemove?: () => void;
  /** Without what was chosen. */
  onUndo?: () => void;
  fieldError?: unknown;
}) {
  const [problem, setProblem] = useState<string | null>(null);
  const [url, setUrl] = useState<string | null>(null);
  const id = useId();
  useEffect(() => {
    if (!picture) return setUrl(null);
    const made = URL.createObjectURL(picture);
    setUrl(made);
    return () => URL.revokeObjectURL(made);
  }, [picture]);
  const onChange = async ({ target }: any) => {
    const file = target.files[0];
    if (!file) return;
    target.value = "";
    try {
      onPicture(await portrait(file));
      setProblem(null);
    } catch (error) {
      setProblem(error instanceof Error ? error.message : String(error));
    }
  };
  const wrong = problem ?? (typeof fieldError === "string" ? fieldError : null);
  return (
    <div class="picture-field" role="group" aria-label={t("Picture")}>
      {url && (
        <span class="avatar large">
          <img class="face" src={url} alt={t("The chosen picture")} />
        </span>
      )}
      {!url && <Avatar user={user} size="large" />}
      <div>
        <div class="row">
          <input
            id={id}
            type="file"
            class="unseen"
            accept={PICTURE_TYPES}
            aria-describedby={`${id}-note`}
            aria-invalid={wrong !== null}
            onChange={onChange}
          />
          <label class="quiet" for={id}>
            {t("Choose a picture")}
          </label>
          {onRemove && (
            <button type="button" class="link" onClick={onRemove}>
              {t("Remove")}
            </button>
          )}
          {onUndo && (
            <button type="button" class="link" onClick={onUndo}>
              {t("Undo")}
            </button>
          )}
        </div>
        <p id={`${id}-note`} class={wrong ? "note wrong" : "note"} role="status">
          {wrong ?? t("A square PNG, JPEG, GIF or WebP is best.")}
        </p>
      </div>
    </div>
  );
}
