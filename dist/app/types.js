/**
 * The shapes the server speaks, as far as this app reads them.
 *
 * @typedef {"USER" | "CHANNEL_MANAGER" | "ADMIN"} Role
 *
 * @typedef {object} User
 * @property {string} id
 * @property {string} username
 * @property {string} email
 * @property {boolean | null} online true while the user has a live connection; null where that is not known
 * @property {Role} role
 *
 * @typedef {object} Channel
 * @property {string} id
 * @property {string | null} name null for PRIVATE
 * @property {string | null} description null for PRIVATE
 * @property {"PUBLIC" | "PRIVATE"} type
 * @property {User[]} participants empty for PUBLIC
 * @property {string} lastMessageAt
 *
 * @typedef {object} Message
 * @property {string} id
 * @property {string} createdAt
 * @property {string | null} updatedAt
 * @property {string} content
 * @property {string} channelId
 * @property {User | null} author null when the account is gone
 * @property {number} seq position in its channel: 1, 2, 3 …
 * @property {string | null} [clientMessageId]
 *
 * @typedef {object} MessagePage
 * @property {Message[]} content newest first
 * @property {string | null} nextCursor
 * @property {boolean} hasNext
 *
 * @typedef {object} Problem the body of every answer that is not 2xx
 * @property {string} code
 * @property {string} message
 * @property {Record<string, any>} details
 * @property {number} status
 */
export {};
