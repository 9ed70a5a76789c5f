// The API without a browser, for what would take too long by hand.
import assert from "node:assert/strict";

/**
 * @param {string} base
 * @param {string} username
 * @param {string} password
 */
export async function apiOf(base, username, password) {
  /** @param {string} path @param {RequestInit} [init] @returns {Promise<any>} */
  const call = async (path, init = {}) => {
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
  };
  const token = await call("/auth/login", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ username, password }),
  });
  const headers = { Authorization: `Bearer ${token}` };
  const { userDto } = JSON.parse(Buffer.from(token.split(".")[1], "base64url").toString());
  return {
    user: userDto,
    /** @returns {Promise<any[]>} */
    channels: () => call(`/channels?userId=${userDto.id}`, { headers }),
    /** @returns {Promise<any[]>} */
    notifications: () => call("/notifications", { headers }),
    /** @param {string} channelId @param {string} content */
    post: (channelId, content) => {
      const form = new FormData();
      const part = JSON.stringify({ content, channelId, authorId: userDto.id });
      form.append("messageCreateRequest", new Blob([part], { type: "application/json" }));
      return call("/messages", { method: "POST", headers, body: form });
    },
  };
}
