// API calls without a browser, for setup that is slow in one.

/** An answer that is not a success. */
export class Refused extends Error {
  /** @param {string} message @param {number} status of HTTP */
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

/** @param {string} base @param {string} path @param {RequestInit} [init] @returns {Promise<any>} */
async function request(base, path, init = {}) {
  for (;;) {
    const response = await fetch(new URL(`/api${path}`, base), init);
    if (response.status === 429) {
      await new Promise((resolve) => setTimeout(resolve, 1000 * Number(response.headers.get("Retry-After") ?? 1)));
      continue;
    }
    const text = await response.text();
    if (!response.ok) throw new Refused(`${init.method ?? "GET"} ${path}: ${response.status} ${text}`, response.status);
    return text ? JSON.parse(text) : null;
  }
}

/** @param {string} method @param {object} body @returns {RequestInit & {headers: Record<string, string>}} */
function json(method, body) {
  return { method, headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
}

/** @param {string} name @param {object} value */
function multipart(name, value) {
  const form = new FormData();
  form.append(name, new Blob([JSON.stringify(value)], { type: "application/json" }));
  return form;
}

/**
 * Creates an account and signs in.
 *
 * @param {string} base
 * @param {string} username
 * @param {string} password
 */
export async function signUp(base, username, password) {
  const account = { username, email: `${username}@example.org`, password };
  await request(base, "/users", { method: "POST", body: multipart("userCreateRequest", account) });
  return apiOf(base, username, password);
}

/**
 * @param {string} base
 * @param {string} username
 * @param {string} password
 */
export async function apiOf(base, username, password) {
  const token = await request(base, "/auth/login", json("POST", { username, password }));
  const headers = { Authorization: `Bearer ${token}` };
  const get = (/** @type {string} */ path) => request(base, path, { headers });
  const { userDto } = JSON.parse(Buffer.from(token.split(".")[1], "base64url").toString());
  /** @param {string} method @param {string} path @param {object} body */
  const call = (method, path, body) => {
    const init = json(method, body);
    return request(base, path, { ...init, headers: { ...init.headers, ...headers } });
  };
  return {
    user: userDto,
    token,
    get,
    /** @returns {Promise<any[]>} */
    channels: () => get(`/channels?userId=${userDto.id}`),
    /** The newest page. @param {string} channelId @returns {Promise<any[]>} */
    messages: async (channelId) => (await get(`/messages?channelId=${channelId}&size=50`)).content,
    /** @returns {Promise<any[]>} */
    notifications: () => get("/notifications"),
    /** Needs the role CHANNEL_MANAGER. @param {string} name @returns {Promise<any>} */
    createChannel: (name) => call("POST", "/channels/public", { name, description: "" }),
    /** @param {string[]} participantIds @returns {Promise<any>} */
    createPrivate: (participantIds) => call("POST", "/channels/private", { participantIds }),
    /** Needs the role CHANNEL_MANAGER. @param {string} channelId @param {string} newDescription @returns {Promise<any>} */
    describeChannel: (channelId, newDescription) => call("PATCH", `/channels/${channelId}`, { newDescription }),
    /** Needs the role CHANNEL_MANAGER. @param {string} channelId */
    deleteChannel: (channelId) => request(base, `/channels/${channelId}`, { method: "DELETE", headers }),
    /** Needs the role ADMIN. @param {string} userId */
    deleteUser: (userId) => request(base, `/users/${userId}`, { method: "DELETE", headers }),
    /** Leaves a private channel. @param {string} channelId */
    leave: (channelId) =>
      request(base, `/channels/${channelId}/participants/${userDto.id}`, { method: "DELETE", headers }),
    /** Needs the role ADMIN. @param {string} userId @param {string} newRole */
    setRole: (userId, newRole) => call("PUT", "/auth/role", { userId, newRole }),
    /** Needs the role CHANNEL_MANAGER. @param {string} channelId @param {string} userId */
    removeParticipant: (channelId, userId) =>
      request(base, `/channels/${channelId}/participants/${userId}`, { method: "DELETE", headers }),
    /** @param {string} messageId @param {string} newContent @returns {Promise<any>} */
    editMessage: (messageId, newContent) => call("PATCH", `/messages/${messageId}`, { newContent }),
    /** @param {string} messageId */
    deleteMessage: (messageId) => request(base, `/messages/${messageId}`, { method: "DELETE", headers }),
    /**
     * @param {string} channelId
     * @param {string} content
     * @param {string} [clientMessageId] makes a retry idempotent
     * @param {Blob} [attachment]
     */
    post: (channelId, content, clientMessageId, attachment) => {
      const body = multipart("messageCreateRequest", { content, channelId, authorId: userDto.id, clientMessageId });
      if (attachment) body.append("attachments", attachment, "attachment.bin");
      return request(base, "/messages", { method: "POST", headers, body });
    },
  };
}
