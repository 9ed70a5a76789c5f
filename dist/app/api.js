// The API calls of the app. A list comes with the position in the event stream at which it was read.
import { authorized } from "./session.js";

/** @typedef {import("./types.js").User} User */
/** @typedef {import("./types.js").Channel} Channel */
/** @typedef {import("./types.js").Message} Message */
/** @typedef {import("./types.js").BinaryContent} BinaryContent */
/** @typedef {import("./types.js").MessagePage} MessagePage */
/** @typedef {import("./types.js").Notification} Notification */
/** @typedef {import("./types.js").ReadStatus} ReadStatus */

/** Messages per page. */
export const PAGE_SIZE = 50;

/**
 * @template T
 * @typedef {{items: T[], cursor: string | null}} List
 */

/** @param {string} path @returns {Promise<List<any>>} */
async function list(path) {
  const { data, headers } = await authorized("GET", path);
  return { items: data, cursor: headers.get("X-Event-Cursor") };
}

/** @param {string} method @param {string} path @param {unknown} [json] @returns {Promise<any>} */
async function call(method, path, json) {
  return (await authorized(method, path, { json })).data;
}

/**
 * A multipart body of JSON and files.
 *
 * @param {string} name of the part with the JSON
 * @param {unknown} json
 * @param {Record<string, File[]>} files by the name of their part
 */
export function formOf(name, json, files) {
  const form = new FormData();
  form.append(name, new Blob([JSON.stringify(json)], { type: "application/json" }));
  for (const [part, all] of Object.entries(files)) for (const file of all) form.append(part, file);
  return form;
}

/** @returns {Promise<List<User>>} */
export const users = () => list("/users");

/**
 * @param {string} id
 * @param {{newUsername?: string, newEmail?: string, newPassword?: string}} changes
 * @param {File | null} picture
 * @returns {Promise<User>}
 */
export async function updateUser(id, changes, picture) {
  const form = formOf("userUpdateRequest", changes, { profile: picture ? [picture] : [] });
  return (await authorized("PATCH", `/users/${id}`, { form })).data;
}

/** @param {string} userId @returns {Promise<List<Channel>>} */
export const channels = (userId) => list(`/channels?userId=${userId}`);

/** @param {string} name @param {string} description @returns {Promise<Channel>} */
export const createPublicChannel = (name, description) => call("POST", "/channels/public", { name, description });

/** @param {string[]} participantIds @returns {Promise<Channel>} */
export const createPrivateChannel = (participantIds) => call("POST", "/channels/private", { participantIds });

/** @param {string} id @param {string} newName @param {string} newDescription @returns {Promise<Channel>} */
export const updateChannel = (id, newName, newDescription) =>
  call("PATCH", `/channels/${id}`, { newName, newDescription });

/** @param {string} id @returns {Promise<void>} */
export const deleteChannel = (id) => call("DELETE", `/channels/${id}`);

/** @param {string} id @param {string} userId @returns {Promise<void>} */
export const leaveChannel = (id, userId) => call("DELETE", `/channels/${id}/participants/${userId}`);

/** @param {string} channelId @param {string | null} [cursor] @returns {Promise<MessagePage>} */
export const messages = (channelId, cursor) =>
  call("GET", `/messages?${new URLSearchParams({ channelId, size: String(PAGE_SIZE), ...(cursor && { cursor }) })}`);

/**
 * @param {{content: string, channelId: string, authorId: string, clientMessageId: string}} message
 * @param {File[]} attachments
 * @param {Pick<import("./http.js").Call, "onProgress" | "signal">} options
 * @returns {Promise<Message>}
 */
export async function postMessage(message, attachments, options) {
  const form = formOf("messageCreateRequest", message, { attachments });
  return (await authorized("POST", "/messages", { form, ...options })).data;
}

/** @param {string} id @param {string} newContent @returns {Promise<Message>} */
export const updateMessage = (id, newContent) => call("PATCH", `/messages/${id}`, { newContent });

/** @param {string} id @returns {Promise<void>} */
export const deleteMessage = (id) => call("DELETE", `/messages/${id}`);

/** @returns {Promise<List<Notification>>} newest first */
export const notifications = () => list("/notifications");

/** @param {string} id @returns {Promise<void>} */
export const deleteNotification = (id) => call("DELETE", `/notifications/${id}`);

/** @param {string} userId @returns {Promise<List<ReadStatus>>} */
export const readStatuses = (userId) => list(`/readStatuses?userId=${userId}`);

/** @param {string} userId @param {string} channelId @param {string} lastReadAt @returns {Promise<ReadStatus>} */
export const createReadStatus = (userId, channelId, lastReadAt) =>
  call("POST", "/readStatuses", { userId, channelId, lastReadAt });

/** @param {string} id @param {boolean} newNotificationEnabled @returns {Promise<ReadStatus>} */
export const updateReadStatus = (id, newNotificationEnabled) =>
  call("PATCH", `/readStatuses/${id}`, { newLastReadAt: null, newNotificationEnabled });

/** @param {string[]} ids @returns {Promise<BinaryContent[]>} */
export const binaryContents = (ids) =>
  call("GET", `/binaryContents?${new URLSearchParams(ids.map((id) => ["binaryContentIds", id]))}`);

/** The URL of a file; the session cookie authorizes it. @param {string} id */
export const fileLink = (id) => `/api/binaryContents/${id}/download`;
