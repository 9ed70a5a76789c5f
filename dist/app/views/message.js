import * as api from "../api.js";
import { current } from "../state/conversations.js";
import { startEditing } from "../state/editing.js";
import { resend } from "../state/outbox.js";
import { removePending } from "../state/pending.js";
import { toastError } from "../state/toasts.js";
import { returnToDraft } from "../state/unsent.js";
import { retryUpload } from "../state/uploads.js";
import { isOnlyEmoji, rich } from "../text/rich.js";
import { exactTime, timeOfDay } from "../text/time.js";
import { Component, html } from "../ui.js";
import { Attachments } from "./attachments.js";
import { Avatar } from "./avatar.js";
import { Confirm, openDialog } from "./dialog.js";
import { EditIcon, TrashIcon } from "./icons.js";
import { MessageEditor } from "./message-editor.js";
import { OutgoingFiles } from "./outgoing-files.js";
import { focusComposer } from "./writing.js";

/** @typedef {import("../types.js").Message} Message */

/**
 * @typedef {object} Props
 * @property {string} id
 * @property {import("./message-rows.js").Entry} entry
 * @property {boolean} head the first of a run, with name and picture
 * @property {import("../types.js").User | null} author as known now
 * @property {boolean} own
 * @property {boolean} mayDelete also messages of others
 * @property {boolean} editing
 */

/**
 * One message. Each arrival renders the list, which may have hundreds of rows, so an unchanged row is skipped.
 *
 * @extends {Component<Props>}
 */
export class MessageRow extends Component {
  /** @override @param {Props} next */
  shouldComponentUpdate(next) {
    const { entry, ...now } = this.props;
    return (
      entry.message !== next.entry.message ||
      entry.pending !== next.entry.pending ||
      Object.entries(now).some(([name, value]) => value !== /** @type {any} */ (next)[name])
    );
  }

  /** @override */
  render() {
    const { id, entry, head, author, own, mayDelete, editing: beingEdited } = this.props;
    const { message, pending, content, createdAt, attachments } = entry;
    const edited = message && isEdited(message) ? message.updatedAt : null;
    const state = pending ? (pending.state === "failed" ? "failed" : "pending") : "";
    return html`
      <article class=${`message ${head ? "head" : ""} ${state} ${beingEdited ? "editing" : ""}`} data-row=${id} tabindex="-1">
        <div class="gutter">
          ${head ? html`<${Avatar} user=${author} />` : html`<time datetime=${createdAt}>${timeOfDay(createdAt)}</time>`}
        </div>
        <div class="body">
          ${head &&
          html`<header>
            <strong class=${author ? "author" : "author nobody"}>${author?.username ?? "Deleted user"}</strong>
            <time datetime=${createdAt} title=${exactTime(createdAt)}>${timeOfDay(createdAt)}</time>
          </header>`}
          ${beingEdited && message
            ? html`<${MessageEditor} message=${message} />`
            : (content || edited) && html`<${Text} content=${content} edited=${edited} />`}
          ${attachments.length > 0 && html`<${Attachments} files=${attachments} />`}
          ${pending !== null && pending.files.length > 0 && html`<${OutgoingFiles} pending=${pending} />`}
          ${pending?.state === "failed" && html`<${Failure} pending=${pending} />`}
        </div>
        ${message && !beingEdited && (own || mayDelete) && html`<${Tools} message=${message} own=${own} />`}
      </article>
    `;
  }
}

/** @param {{content: string, edited: string | null}} props */
function Text({ content, edited }) {
  return html`
    <div class=${isOnlyEmoji(content) ? "text emoji" : "text"} dir="auto">
      ${rich(content)}
      ${edited && html`<span class="edited" title=${exactTime(edited)}> (edited)</span>`}
    </div>
  `;
}

/** @param {Message} message */
const isEdited = ({ createdAt, updatedAt }) => updatedAt !== null && Date.parse(updatedAt) > Date.parse(createdAt);

/** @param {{pending: import("../state/pending.js").Pending}} props */
function Failure({ pending: { clientMessageId, channelId, files, reason } }) {
  const again = files.length ? retryUpload : resend;
  return html`
    <p class="failure" role="alert">
      Not sent. ${reason}
      <button type="button" class="link" onClick=${() => again(clientMessageId)}>Retry</button>
      <button type="button" class="link" onClick=${() => (returnToDraft(clientMessageId), focusComposer(channelId))}>Edit</button>
      <button type="button" class="link" onClick=${() => removePending(clientMessageId)}>Discard</button>
    </p>
  `;
}

/** @param {{message: Message, own: boolean}} props */
function Tools({ message, own }) {
  return html`
    <div class="tools">
      ${own &&
      html`<button type="button" class="icon-button" aria-label="Edit message" title="Edit"
        onClick=${() => startEditing(message)}>
        <${EditIcon} />
      </button>`}
      <button type="button" class="icon-button" aria-label="Delete message" title="Delete" onClick=${() => askToDelete(message)}>
        <${TrashIcon} />
      </button>
    </div>
  `;
}

/** @param {Message} message */
function askToDelete(message) {
  const remove = () => api.deleteMessage(message.id).then(() => current.peek()?.remove(message.id), toastError);
  openDialog(html`
    <${Confirm} title="Delete this message?" action="Delete" onConfirm=${remove}>
      ${message.content && html`<blockquote class="quote">${message.content}</blockquote>`}
      ${(message.attachments?.length ?? 0) > 0 &&
      html`<p class="lead">Its files go with it: ${message.attachments?.map((file) => file.fileName).join(", ")}</p>`}
    <//>
  `);
}
