// The record of a run: what clients asked, what they saw, and what the stores held at the end.
//
// All times are in ms on the clock of the one process that records.

/**
 * @typedef {"pending" | "accepted" | "refused" | "unknown"} Outcome `unknown`: no answer, or an answer that promises nothing,
 *   such as 503
 *
 * @typedef {object} Room a channel
 * @property {string} id
 * @property {boolean} isPrivate
 * @property {string[]} members ids of the users who are notified: those of a private channel at its creation
 *
 * @typedef {object} Client one STOMP or SSE client, over all its connections
 * @property {string} name
 * @property {string} user
 * @property {"stomp" | "sse"} kind
 * @property {boolean} isSteady it stayed, or came back each time, until the end
 *
 * @typedef {object} Send a message that a user asked to store
 * @property {string} id the `clientMessageId`
 * @property {string} author
 * @property {string} channel
 * @property {string} text its first word is unique
 * @property {number} at start of the first try
 * @property {number} triedAt start of the last try
 * @property {number} tries
 * @property {Outcome} outcome
 * @property {string} [connection] of the only try, if that was a SEND
 * @property {string} [reason] of a refusal
 *
 * @typedef {object} Change an edit or a deletion of a message
 * @property {string} send the `clientMessageId`
 * @property {string} [text] of an edit
 * @property {number} at
 * @property {number} [endedAt]
 * @property {Outcome} outcome
 *
 * @typedef {object} Right a user enters or leaves a private channel
 * @property {string} channel
 * @property {string} user
 * @property {boolean} isMember afterwards
 * @property {number} at
 * @property {number} [endedAt]
 * @property {Outcome} outcome
 *
 * @typedef {object} Cause a request whose event every SSE client must get
 * @property {string} name of the event
 * @property {string} channel named by the event and by no other
 * @property {number} at
 *
 * @typedef {object} Subscription
 * @property {string} client
 * @property {string} connection
 * @property {string} channel
 * @property {"messages" | "events"} stream
 * @property {number} [after] the `after-seq` header
 * @property {number} at when the server confirmed it
 * @property {number} [endedAt] when the client noticed the connection's end
 *
 * @typedef {object} Delivery a MESSAGE
 * @property {string} client
 * @property {string} connection
 * @property {string} channel
 * @property {number} seq
 * @property {string} id
 * @property {string} [send] the `clientMessageId`
 * @property {string} text
 * @property {number} at
 *
 * @typedef {object} Gap the server announced that a replay leaves these positions out
 * @property {string} client
 * @property {string} channel
 * @property {number} from
 * @property {number} to
 *
 * @typedef {object} Notice an edit or a deletion, as a subscriber of a channel's events saw it
 * @property {string} client
 * @property {string} connection
 * @property {string} channel
 * @property {string} type `message.updated` or `message.deleted`
 * @property {string} id of the message
 * @property {string} [text]
 * @property {number} at
 *
 * @typedef {object} SseEvent
 * @property {string} client
 * @property {string} connection
 * @property {string} name
 * @property {string} id
 * @property {any} data
 * @property {number} at
 *
 * @typedef {object} Refusal a client with every right was refused for good
 * @property {string} client
 * @property {string} text
 * @property {number} at
 *
 * @typedef {object} Stored a message that the API returned at the end
 * @property {string} id
 * @property {number} seq
 * @property {string} [send] the `clientMessageId`
 * @property {string} author
 * @property {string} text
 *
 * @typedef {object} StoredNotification
 * @property {string} id
 * @property {string} target the channel
 * @property {string} text
 */

export class History {
  constructor() {
    /** @type {Map<string, Room>} */
    this.rooms = new Map();
    /** @type {Map<string, Client>} */
    this.clients = new Map();
    /** @type {Map<string, Send>} */
    this.sends = new Map();
    /** @type {Change[]} */
    this.edits = [];
    /** @type {Change[]} */
    this.deletions = [];
    /** @type {Right[]} */
    this.rights = [];
    /** @type {Cause[]} */
    this.causes = [];
    /** @type {Subscription[]} */
    this.subscriptions = [];
    /** @type {Delivery[]} */
    this.deliveries = [];
    /** @type {Gap[]} */
    this.gaps = [];
    /** @type {Notice[]} */
    this.notices = [];
    /** @type {SseEvent[]} */
    this.events = [];
    /** @type {Refusal[]} */
    this.refusals = [];
    /** Times at which the recording process was late, and by how many ms. @type {{at: number, ms: number}[]} */
    this.stalls = [];
    /** Messages of each channel at the end. @type {Map<string, Stored[]>} */
    this.stored = new Map();
    /** Notifications of each user at the end. @type {Map<string, StoredNotification[]>} */
    this.notifications = new Map();
    /** First delivery of each send to each client. @type {Map<string, Map<string, number>>} */
    this.firstDeliveries = new Map();
    /** Message ids of delivered sends. @type {Map<string, string>} */
    this.messageIds = new Map();
  }

  /** @param {Delivery} delivery */
  deliver(delivery) {
    this.deliveries.push(delivery);
    if (!delivery.send) return;
    this.messageIds.set(delivery.send, delivery.id);
    const known = this.firstDeliveries.get(delivery.send) ?? new Map();
    if (!known.has(delivery.client)) known.set(delivery.client, delivery.at);
    this.firstDeliveries.set(delivery.send, known);
  }

  /** The longest time by which the recording process was late between these times. @param {number} from @param {number} to */
  stalledFor(from, to) {
    return this.stalls.reduce((most, { at, ms }) => (at >= from && at - ms <= to ? Math.max(most, ms) : most), 0);
  }

  toJSON() {
    const plain = { ...this, firstDeliveries: undefined, messageIds: undefined };
    return Object.fromEntries(
      Object.entries(plain).map(([name, value]) => [name, value instanceof Map ? [...value] : value]),
    );
  }
}
