// API calls without a browser, for setup that is slow in one.
import assert from "node:assert/strict";

/** @param {string} base @param {string} path @param {RequestInit} [init] @returns {Promise<any>} */
async function request(base, path, init = {}) {
  for (;;) {
    const response = await fetch(new URL(`/api${path}`, base), init);
    if (response.status === 429) {
      await new Promise((resolve) => setTimeout(resolve, 1000 * Number(response.headers.get("Retry-After") ?? 1)));
      continue;
    }
    const text = await response.text();
    assert.ok(response.ok, `${init.method ?? "GET"} ${path}: ${response.status} ${text}`);
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
  const { userDto } = JSON.parse(Buffer.from(token.split(".")[1], "base64url").toString());
  /** @param {string} method @param {string} path @param {object} body */
  const call = (method, path, body) => {
    const init = json(method, body);
    return request(base, path, { ...init, headers: { ...init.headers, ...headers } });
  };
  return {
    user: userDto,
    token,
    /** @returns {Promise<any[]>} */
    channels: () => request(base, `/channels?userId=${userDto.id}`, { headers }),
    /** The newest page. @param {string} channelId @returns {Promise<any[]>} */
    messages: async (channelId) => (await request(base, `/messages?channelId=${channelId}&size=50`, { headers })).content,
    /** @returns {Promise<any[]>} */
    notifications: () => request(base, "/notifications", { headers }),
    /** Needs the role CHANNEL_MANAGER. @param {string} name @returns {Promise<any>} */
    createChannel: (name) => call("POST", "/channels/public", { name, description: "" }),
    /** @param {string[]} participantIds @returns {Promise<any>} */
    createPrivate: (participantIds) => call("POST", "/channels/private", { participantIds }),
    /** Needs the role CHANNEL_MANAGER. @param {string} channelId @param {string} newDescription @returns {Promise<any>} */
    describeChannel: (channelId, newDescription) => call("PATCH", `/channels/${channelId}`, { newDescription }),
    /** Needs the role CHANNEL_MANAGER. @param {string} channelId */
    deleteChannel: (channelId) => request(base, `/channels/${channelId}`, { method: "DELETE", headers }),
    /** Needs the role CHANNEL_MANAGER. @param {string} channelId @param {string} userId */
    removeParticipant: (channelId, userId) =>
      request(base, `/channels/${channelId}/participants/${userId}`, { method: "DELETE", headers }),
    /** @param {string} messageId */
    deleteMessage: (messageId) => request(base, `/messages/${messageId}`, { method: "DELETE", headers }),
    /** @param {string} channelId @param {string} content @param {string} [clientMessageId] makes a retry idempotent */
    post: (channelId, content, clientMessageId) => {
      const body = multipart("messageCreateRequest", { content, channelId, authorId: userDto.id, clientMessageId });
      return request(base, "/messages", { method: "POST", headers, body });
    },
  };
}
