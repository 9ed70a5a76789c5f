/**
 * The server's data types, as far as the app uses them.
 *
 * @typedef {"USER" | "CHANNEL_MANAGER" | "ADMIN"} Role
 *
 * @typedef {object} BinaryContent a file
 * @property {string} id
 * @property {string} fileName
 * @property {number} size bytes
 * @property {string} contentType
 * @property {"WAITING" | "SUCCESS" | "FAILED"} uploadStatus readable when SUCCESS
 *
 * @typedef {object} User
 * @property {string} id
 * @property {string} username
 * @property {string} email
 * @property {BinaryContent | null} [profile] the picture
 * @property {boolean | null} online true while the user has a live connection; null when unknown
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
 * @property {User | null} author null when the account was deleted
 * @property {BinaryContent[]} [attachments]
 * @property {number} seq position in its channel: 1, 2, 3 …
 * @property {string | null} [clientMessageId]
 *
 * @typedef {object} MessagePage
 * @property {Message[]} content newest first
 * @property {string | null} nextCursor
 * @property {boolean} hasNext
 *
 * @typedef {object} Notification
 * @property {string} id
 * @property {string} createdAt
 * @property {string} receiverId
 * @property {string} title
 * @property {string} content
 * @property {"NEW_MESSAGE" | "ROLE_CHANGED" | "ASYNC_FAILED"} type
 * @property {string | null} targetId the channel of a NEW_MESSAGE
 *
 * @typedef {object} ReadStatus one for each user and channel
 * @property {string} id
 * @property {string} userId
 * @property {string} channelId
 * @property {string} lastReadAt
 * @property {boolean} notificationEnabled
 *
 * @typedef {object} Problem the body of every response that is not 2xx
 * @property {string} code
 * @property {string} message
 * @property {Record<string, any>} details
 * @property {number} status
 */
export {};
