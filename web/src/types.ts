// The server's data types, as far as the app uses them.
export type Role = "USER" | "CHANNEL_MANAGER" | "ADMIN";

/** A file. */
export interface BinaryContent {
  id: string;
  fileName: string;
  /** Bytes. */
  size: number;
  contentType: string;
  /** Readable when SUCCESS. */
  uploadStatus: "WAITING" | "SUCCESS" | "FAILED";
  /** Of a picture that the server has decoded, in pixels. */
  width?: number;
  height?: number;
  /** Whether the picture has thumbnails. */
  thumbnail?: boolean;
}

export interface User {
  id: string;
  username: string;
  email: string;
  /** The picture. */
  profile?: BinaryContent | null;
  /** True while the user has a live connection; null when unknown. */
  online: boolean | null;
  role: Role;
}

export interface Channel {
  id: string;
  /** Null for most that are PRIVATE. */
  name: string | null;
  /** Null for PRIVATE. */
  description: string | null;
  type: "PUBLIC" | "PRIVATE";
  /** Empty for PUBLIC. */
  participants: User[];
  /** Whether people who are added later to a PRIVATE one see earlier messages. */
  withHistory: boolean;
  lastMessageAt: string;
  /** Position of the newest message, or 0. */
  lastSeq: number;
}

/** The newest message of a channel. */
export interface ChannelActivity {
  channelId: string;
  lastSeq: number;
  lastMessageAt: string;
}

export interface Message {
  id: string;
  createdAt: string;
  updatedAt: string | null;
  content: string;
  channelId: string;
  /** Null when the account was deleted. */
  author: User | null;
  attachments?: BinaryContent[];
  /** Position in its channel: 1, 2, 3 … */
  seq: number;
  clientMessageId?: string | null;
  replyTo?: Reply | null;
  /** Ids of the users whom the text mentions. */
  mentions?: string[];
  /** In the order of their first use. */
  reactions?: Reaction[];
}

/** The message that another one replies to. */
export interface Reply {
  id: string;
  seq: number;
  /** Null when the account or the message was deleted. */
  author: User | null;
  /** The beginning of the text, or of the names of the files. */
  excerpt: string | null;
  deleted: boolean;
}

/** All reactions to a message with one emoji. */
export interface Reaction {
  emoji: string;
  count: number;
  /** The first 50. */
  userIds: string[];
}

export interface MessagePage {
  /** Newest first, or oldest first when read towards newer ones. */
  content: Message[];
  nextCursor: string | null;
  hasNext: boolean;
  /** Of a page around a place: whether there are messages on its other side. */
  previousCursor?: string | null;
}

/** A found message. */
export interface Found {
  message: Message;
  /** Where the words of the search are in the text, in code points: from and to. */
  highlights: [number, number][];
}

export interface FoundPage {
  content: Found[];
  nextCursor: string | null;
  hasNext: boolean;
}

export interface SearchFilter {
  q?: string;
  channelId?: string;
  authorId?: string;
  before?: string;
  after?: string;
  has?: "file" | "link" | "";
}

export interface Notification {
  id: string;
  createdAt: string;
  receiverId: string;
  title: string;
  content: string;
  type: "NEW_MESSAGE" | "ROLE_CHANGED" | "ASYNC_FAILED";
  /** The channel of a NEW_MESSAGE. */
  targetId: string | null;
  /** Of a NEW_MESSAGE. */
  reason?: "MESSAGE" | "MENTION" | "REPLY" | null;
}

/** One for each user and channel. */
export interface ReadStatus {
  id: string;
  userId: string;
  channelId: string;
  lastReadAt: string;
  /** The user has read the messages up to this position. */
  lastReadSeq: number;
  notificationLevel: NotificationLevel;
  /** Number of later messages that mention the user. */
  mentions: number;
  /** Number of later positions whose messages are deleted. Missing from a node of an earlier version. */
  unreadDeleted?: number;
}

/** The messages of a channel that notify: all, those that mention the user or reply to them, none. */
export type NotificationLevel = "ALL" | "MENTIONS" | "NONE";

/** A device on which the user is signed in. Those from before an upgrade lack some fields. */
export interface Session {
  id: string;
  /** The `User-Agent` header. */
  device: string | null;
  address: string | null;
  createdAt: string | null;
  lastUsedAt: string | null;
  /** Of this browser. */
  current: boolean;
}

/** The body of every response that is not 2xx. */
export interface Problem {
  code: string;
  message: string;
  details: Record<string, any>;
  status: number;
}
