// Requests that nginx or a node's HTTP parser rejects, written byte by byte.
import assert from "node:assert/strict";
import net from "node:net";

const JSON_FIELDS = ["code", "details", "exceptionType", "message", "status", "timestamp"];

/**
 * The status, headers and body of the answer to raw bytes.
 *
 * @param {URL} base
 * @param {string} request
 * @returns {Promise<{status: number, headers: Map<string, string[]>, body: string}>}
 */
async function exchange(base, request) {
  const socket = net.connect(Number(base.port), base.hostname);
  try {
    socket.write(request, "latin1");
    /** @type {Buffer[]} */
    const received = [];
    try {
      for await (const chunk of socket) received.push(chunk);
    } catch (error) {
      // nginx resets a connection that it closes before it has read the whole request.
      if (received.length === 0) throw error;
    }
    const text = Buffer.concat(received).toString();
    const [head, ...rest] = text.split("\r\n\r\n");
    const [line, ...fields] = head.split("\r\n");
    /** @type {Map<string, string[]>} */
    const headers = new Map();
    for (const field of fields) {
      const [name, ...value] = field.split(":");
      const key = name.toLowerCase();
      headers.set(key, [...(headers.get(key) ?? []), value.join(":").trim()]);
    }
    return { status: Number(line.split(" ")[1]), headers, body: rest.join("\r\n\r\n") };
  } finally {
    socket.destroy();
  }
}

/** @type {[name: string, request: string, status: number][]} */
const rejected = [
  ["a percent sign without digits", "GET /api/users/%zz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 400],
  ["a NUL in the path", "GET /api/%00 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 400],
  ["an unencoded < in the query", "GET /api/users?a=< HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 400],
  ["unencoded UTF-8 in the query", "GET /api/users?a=\xed\x95\x9c HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 400],
  ["a control character in a header", "GET /api/users HTTP/1.1\r\nHost: a\r\nX: a\x01b\r\nConnection: close\r\n\r\n", 400],
  ["110 headers", `GET /api/users HTTP/1.1\r\nHost: a\r\n${"X: y\r\n".repeat(110)}Connection: close\r\n\r\n`, 431],
  ["a compressed body", "POST /api/auth/login HTTP/1.1\r\nHost: a\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}", 415],
  ["no Host", "GET /api/users HTTP/1.1\r\nConnection: close\r\n\r\n", 400],
  ["two Hosts", "GET /api/users HTTP/1.1\r\nHost: a\r\nHost: b\r\nConnection: close\r\n\r\n", 400],
  ["TRACE", "TRACE /api/users HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 405],
  ["a path of 9,000 bytes", `GET /api/${"x".repeat(9_000)} HTTP/1.1\r\nHost: a\r\n\r\n`, 414],
  ["a cookie of 9,000 bytes", `GET /api/users HTTP/1.1\r\nHost: a\r\nCookie: x=${"y".repeat(9_000)}\r\n\r\n`, 431],
  ["a body of 60 MiB", "POST /api/users HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 62914560\r\n\r\n", 413],
  ["an unknown transfer encoding", "POST /api/users HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 501],
  ["HTTP/3.0", "GET /api/users HTTP/3.0\r\nHost: a\r\nConnection: close\r\n\r\n", 505],
  ["a missing file of the web app", "GET /nothing.txt HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 404],
  ["a hidden file", "GET /.git/config HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 404],
  ["a POST to a file of the web app", "POST /index.html HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", 405],
  ["the API without a path", "GET /api HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 404],
  ["an unknown path of the API", "GET /api/nothing HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 404],
];

/** @type {import("../run.mjs").Scenario[]} */
export const edge = [
  [
    "Every rejected request gets the error body and one request id, from nginx and from the nodes",
    async (system) => {
      for (const [name, request, status] of rejected) {
        const answer = await exchange(system.base, request);
        assert.equal(answer.status, status, name);
        assert.deepEqual(answer.headers.get("content-type"), ["application/json"], name);
        const error = JSON.parse(answer.body);
        assert.deepEqual(Object.keys(error).sort(), JSON_FIELDS, name);
        assert.equal(error.status, status, name);
        assert.match(error.timestamp, /^\d{4}-\d\d-\d\dT[\d:.]+Z$/, name);
        const ids = answer.headers.get("discodeit-request-id") ?? [];
        assert.equal(ids.length, 1, `${name}: ${ids}`);
        assert.match(ids[0], /^[!-~]{1,64}$/, name);
        if (status === 405) assert.equal(answer.headers.get("allow")?.length, 1, name);
      }
    },
  ],
  [
    "A request keeps its own id, and an id that could forge a log line is replaced",
    async (system) => {
      const idOf = async (/** @type {string} */ path, /** @type {string} */ id) => {
        const request = `GET ${path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nDiscodeit-Request-ID: ${id}\r\n\r\n`;
        const { headers } = await exchange(system.base, request);
        return headers.get("discodeit-request-id");
      };
      for (const path of ["/api/health/live", "/api/users?a=<", "/index.html", "/ws/info"]) {
        assert.deepEqual(await idOf(path, "my-id.1"), ["my-id.1"], path);
        const replaced = (await idOf(path, "a b 200 0 0s node=forged")) ?? [];
        assert.equal(replaced.length, 1, path);
        assert.match(replaced[0], /^[0-9a-f]{32}$/, path);
      }
    },
  ],
  [
    "nginx redirects no path of the API, and shows the page of its description",
    async (system) => {
      const get = (/** @type {string} */ path) => fetch(new URL(path, system.base), { redirect: "manual" });
      const { paths } = /** @type {any} */ (await (await get("/api/openapi.json")).json());
      assert.ok(paths["/api/binaryContents"].get);
      for (const template of Object.keys(paths)) {
        const path = template.replace(/\{\w+\}/g, "01234567-89ab-7def-8123-456789abcdef");
        const { status, body } = await get(path);
        await body?.cancel();
        assert.ok(status < 300 || status >= 400, `${path}: ${status}`);
      }
      const page = await get("/api/docs");
      assert.equal(page.status, 200);
      const scripts = [...(await page.text()).matchAll(/(?:src|href)="(\/api-docs\/[^"]+)"/g)].map(([, path]) => path);
      assert.equal(scripts.length, 3);
      for (const path of scripts) assert.equal((await get(path)).status, 200, path);
    },
  ],
  [
    "A download keeps its length, its strong ETag and its ranges through nginx, with each security header once",
    async (system) => {
      const ann = await system.person("ann");
      const channel = await system.channel("downloads");
      const text = JSON.stringify(Array.from({ length: 2_000 }, (_, number) => ({ number })));
      const types = ["application/json", "text/plain", "text/html", "text/css", "text/javascript", "image/svg+xml", "application/xml"];
      const form = new FormData();
      const message = JSON.stringify({ channelId: channel, authorId: ann.user.id, content: "files" });
      form.append("messageCreateRequest", new Blob([message], { type: "application/json" }));
      for (const type of types) form.append("attachments", new Blob([text], { type }), "data");
      const authorization = { Authorization: `Bearer ${ann.token}` };
      const posted = await fetch(new URL("/api/messages", system.base), { method: "POST", headers: authorization, body: form });
      const { attachments } = /** @type {any} */ (await posted.json());
      assert.equal(attachments.length, types.length);
      for (const [number, type] of types.entries()) {
        const path = `/api/binaryContents/${attachments[number].id}/download`;
        const download = (/** @type {string} */ more) =>
          exchange(
            system.base,
            `GET ${path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nAccept-Encoding: gzip\r\nAuthorization: Bearer ${ann.token}\r\n${more}\r\n`,
          );
        let whole = await download("");
        for (const deadline = Date.now() + 10_000; whole.status !== 200 && Date.now() < deadline; whole = await download(""))
          await new Promise((resolve) => setTimeout(resolve, 100));
        assert.equal(whole.status, 200, type);
        assert.equal(whole.body, text, type);
        assert.deepEqual(whole.headers.get("content-length"), [String(text.length)], type);
        const [tag] = whole.headers.get("etag") ?? [];
        assert.match(tag, /^"/, type);
        for (const name of ["content-security-policy", "x-content-type-options", "discodeit-request-id"])
          assert.equal(whole.headers.get(name)?.length, 1, `${type}: ${name}`);
        const rest = await download(`Range: bytes=100-\r\nIf-Range: ${tag}\r\n`);
        assert.equal(rest.status, 206, type);
        assert.equal(rest.body, text.slice(100), type);
        assert.equal((await download('If-Match: "zzz"\r\n')).status, 412, type);
      }
    },
  ],
];
