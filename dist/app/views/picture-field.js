// A form field for a profile picture.
import { PICTURE_TYPES, portrait } from "../picture.js";
import { html, useEffect, useId, useState } from "../ui.js";
import { Avatar } from "./avatar.js";

/**
 * @param {{user: import("../types.js").User, picture: File | null, onPicture: (picture: File | null) => void,
 *   fieldError?: unknown}} props `user`: the owner of the current picture
 */
export function PictureField({ user, picture, onPicture, fieldError }) {
  const [problem, setProblem] = useState(/** @type {string | null} */ (null));
  const [url, setUrl] = useState(/** @type {string | null} */ (null));
  const id = useId();
  useEffect(() => {
    if (!picture) return setUrl(null);
    const made = URL.createObjectURL(picture);
    setUrl(made);
    return () => URL.revokeObjectURL(made);
  }, [picture]);
  /** @param {any} event */
  const onChange = async ({ target }) => {
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
  return html`
    <div class="picture-field" role="group" aria-label="Picture">
      ${url && html`<span class="avatar large"><img class="face" src=${url} alt="The chosen picture" /></span>`}
      ${!url && html`<${Avatar} user=${user} size="large" />`}
      <div>
        <div class="row">
          <input id=${id} type="file" class="unseen" accept=${PICTURE_TYPES} aria-describedby=${`${id}-note`}
            onChange=${onChange} />
          <label class="quiet" for=${id}>Choose a picture</label>
          ${picture && html`<button type="button" class="link" onClick=${() => onPicture(null)}>Undo</button>`}
        </div>
        <p id=${`${id}-note`} class=${wrong ? "note wrong" : "note"} role="status">
          ${wrong ?? "A square PNG, JPEG, GIF or WebP is best."}
        </p>
      </div>
    </div>
  `;
}
