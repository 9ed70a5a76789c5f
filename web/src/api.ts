// The API calls of the app. A list comes with the position in the event stream at which it was read.
import { authorized } from "./session";
import type { Call } from "./http";
import type {
  BinaryContent,
  Channel,
  FoundPage,
  Message,
  MessagePage,
  Notification,
  NotificationLevel,
  ReadStatus,
  Role,
  SearchFilter,
  Session,
  User,
} from "./types";

/** Messages per page. */
export const PAGE_SIZE = 50;

export type List<T> = { items: T[]; cursor: string | null };

async function list(path: string): Promise<List<any>> {
  const { data, headers } = await authorized("GET", path);
  return { items: data, cursor: headers.get("X-Event-Cursor") };
}

async function call(method: string, path: string, json?: unknown): Promise<any> {
  return (await authorized(method, path, { json })).data;
}

/**
 * A multipart body of JSON and files.
 *
 * @param name of the part with the JSON
 * @param files by the name of their part
 */
export function formOf(name: string, json: unknown, files: Record<string, File[]>) {
  const form = new FormData();
  form.append(name, new Blob([JSON.stringify(json)], { type: "application/json" }));
  for (const [part, all] of Object.entries(files)) for (const file of all) form.append(part, file);
  return form;
}

export const users = (): Promise<List<User>> => list("/users");

/** Those of at most 100 users who exist. */
export const usersWithIds = (ids: string[]): Promise<User[]> => call("GET", `/users?ids=${ids.join(",")}`);

export async function updateUser(
  id: string,
  changes: { newUsername?: string; newEmail?: string; newPassword?: string; currentPassword?: string },
  picture: File | null = null,
): Promise<User> {
  const form = formOf("userUpdateRequest", changes, { profile: picture ? [picture] : [] });
  return (await authorized("PATCH", `/users/${id}`, { form })).data;
}

export const removePicture = (id: string): Promise<void> => call("DELETE", `/users/${id}/profile`);

/** Another user's account; see session.ts for one's own. */
export const deleteUser = (id: string): Promise<void> => call("DELETE", `/users/${id}`);

/** Ends all sessions of the user. */
export const setRole = (userId: string, newRole: Role): Promise<User> => call("PUT", "/auth/role", { userId, newRole });

/** The devices on which the user is signed in, the one used last first. */
export const sessions = (): Promise<Session[]> => call("GET", "/auth/sessions");

export const endSession = (id: string): Promise<void> => call("DELETE", `/auth/sessions/${id}`);

export const endOtherSessions = (): Promise<void> => call("DELETE", "/auth/sessions?others=true");

export const channels = (userId: string): Promise<List<Channel>> => list(`/channels?userId=${userId}`);

export const createPublicChannel = (name: string, description: string): Promise<Channel> =>
  call("POST", "/channels/public", { name, description });

/**
 * @param options `name`: null for a conversation of two; `withHistory`: whether people who are added later see earlier
 *   messages
 */
export const createPrivateChannel = (
  participantIds: string[],
  options: { name: string | null; withHistory: boolean },
): Promise<Channel> => call("POST", "/channels/private", { participantIds, ...options });

export const renameChannel = (id: string, newName: string): Promise<Channel> =>
  call("PATCH", `/channels/${id}`, { newName });

export const addParticipant = (id: string, userId: string): Promise<void> =>
  call("PUT", `/channels/${id}/participants/${userId}`);

export const updateChannel = (id: string, newName: string, newDescription: string): Promise<Channel> =>
  call("PATCH", `/channels/${id}`, { newName, newDescription });

export const deleteChannel = (id: string): Promise<void> => call("DELETE", `/channels/${id}`);

/** Removes somebody else, or leaves. */
export const removeParticipant = (id: string, userId: string): Promise<void> =>
  call("DELETE", `/channels/${id}/participants/${userId}`);

/** @returns a page before or after the cursor, nearest first */
export function messages(
  channelId: string,
  cursor?: string,
  towards: "older" | "newer" = "older",
): Promise<MessagePage> {
  const sort = towards === "older" ? "createdAt,desc" : "createdAt,asc";
  return call(
    "GET",
    `/messages?${new URLSearchParams({ channelId, size: String(PAGE_SIZE), sort, ...(cursor && { cursor }) })}`,
  );
}

/** @returns a page with the message at the position, or the first one after the instant, in its middle; newest first */
export const messagesAround = (channelId: string, place: { around: string } | { at: string }): Promise<MessagePage> =>
  call("GET", `/messages?${new URLSearchParams({ channelId, size: String(PAGE_SIZE), ...place })}`);

/** @returns a page, newest first */
export function search(filter: SearchFilter, cursor: string | null): Promise<FoundPage> {
  const given = Object.entries({ ...filter, cursor }).filter((entry): entry is [string, string] => Boolean(entry[1]));
  return call("GET", `/messages/search?${new URLSearchParams([...given, ["size", "25"]])}`);
}

export const addReaction = (id: string, emoji: string): Promise<void> =>
  call("PUT", `/messages/${id}/reactions/${encodeURIComponent(emoji)}`);

export const removeReaction = (id: string, emoji: string): Promise<void> =>
  call("DELETE", `/messages/${id}/reactions/${encodeURIComponent(emoji)}`);

/** A message to be sent. */
export interface NewMessage {
  content: string;
  channelId: string;
  authorId: string;
  clientMessageId: string;
  /** The id of a message of the channel. */
  replyTo?: string;
}

export async function postMessage(
  message: NewMessage,
  attachments: File[],
  options: Pick<Call, "onProgress" | "signal">,
): Promise<Message> {
  const form = formOf("messageCreateRequest", message, { attachments });
  return (await authorized("POST", "/messages", { form, ...options })).data;
}

export const updateMessage = (id: string, newContent: string): Promise<Message> =>
  call("PATCH", `/messages/${id}`, { newContent });

export const deleteMessage = (id: string): Promise<void> => call("DELETE", `/messages/${id}`);

/** @returns newest first */
export const notifications = (): Promise<List<Notification>> => list("/notifications");

export const deleteNotification = (id: string): Promise<void> => call("DELETE", `/notifications/${id}`);

export const readStatuses = (userId: string): Promise<List<ReadStatus>> => list(`/readStatuses?userId=${userId}`);

export const createReadStatus = (status: {
  userId: string;
  channelId: string;
  lastReadAt: string;
  notificationLevel?: NotificationLevel;
}): Promise<ReadStatus> => call("POST", "/readStatuses", status);

export const updateReadStatus = (
  id: string,
  changes: { newLastReadSeq?: number; newNotificationLevel?: NotificationLevel },
): Promise<ReadStatus> => call("PATCH", `/readStatuses/${id}`, changes);

/** @returns users whose names begin with the text */
export const findUsers = (query: string, limit: number): Promise<User[]> =>
  call("GET", `/users?${new URLSearchParams({ query, limit: String(limit) })}`);

export const binaryContents = (ids: string[]): Promise<BinaryContent[]> =>
  call("GET", `/binaryContents?${new URLSearchParams(ids.map((id) => ["binaryContentIds", id]))}`);

/** The URL of a smaller version of a picture. A smaller picture keeps its width. */
export const thumbnailLink = (id: string, width: 320 | 640) => `/api/binaryContents/${id}/thumbnail?width=${width}`;

/** The URL of a file; the session cookie authorizes it. */
export const fileLink = (id: string) => `/api/binaryContents/${id}/download`;
