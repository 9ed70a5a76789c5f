// Messages between a tab and the connections that all tabs of a user share.

import type { ConnectionState } from "discodeit-client";

/** Begins with all channels, then has those with new messages. */
export const ACTIVITY = "/user/queue/activity";

/** A subscription of a tab. */
export interface Wanted {
  destination: string;
  /** The last position that the tab has; null for a destination without positions. */
  after: number | null;
}

export type ToHub =
  | { type: "hello" }
  /** The answer to "token?". */
  | { type: "token"; value: string }
  /** The position in the event stream at which the tab has read its lists. */
  | { type: "listen"; cursor: string | null }
  | ({ type: "subscribe" } & Wanted)
  /** `gone`: the server has ended the subscription, because the user may no longer read the channel. */
  | { type: "unsubscribe"; destination: string; gone: boolean }
  /** `connection`: the number of the connection that the tab knows. */
  | { type: "publish"; connection: number; destination: string; body: unknown }
  /** The answer to "recheck": all subscriptions of the tab. */
  | { type: "rechecked"; wanted: Wanted[] }
  | { type: "ping" }
  | { type: "bye" };

export type ToTab =
  /** `connection`: counts the connections, so that a tab never sends on one that it does not know. */
  | { type: "state"; state: ConnectionState; connection: number }
  /** Asks for an access token other than `rejected`. */
  | { type: "token?"; rejected: string | null }
  | { type: "message"; destination: string; body: any; headers: Record<string, string> }
  | { type: "event"; name: string; data: any }
  /** The server has refused a subscription or the token: asks for the subscriptions that still make sense. */
  | { type: "recheck" }
  /** There are too many subscriptions: asks for those that are not on screen to end. */
  | { type: "fewer" };

/** The server-sent events that tabs handle. */
export const EVENTS = [
  "channels.refresh",
  "users.refresh",
  "notifications",
  "notifications.deleted",
  "readStatuses.updated",
  "binaryContents.status",
  "resync",
];
