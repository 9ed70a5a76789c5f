// What a browser loads before the app is usable.
import assert from "node:assert/strict";
import http from "node:http";
import { apiOf } from "../api.mjs";
import { startProxy } from "../proxy.mjs";

const MAX_REQUESTS = 4;
const MAX_BYTES = 90 * 1024;

/** @param {URL} url @returns {Promise<http.IncomingMessage>} */
const get = (url) => new Promise((resolve, reject) => void http.get(url, (response) => resolve(response.resume())).on("error", reject));

/** Reads a compressed body, whose length nginx does not announce. @param {URL} url @returns {Promise<number>} bytes */
const compressedLength = (url) =>
  new Promise((resolve, reject) => {
    const request = http.get(url, { headers: { "Accept-Encoding": "gzip" } }, (response) => {
      let bytes = 0;
      response.on("data", (chunk) => (bytes += chunk.length)).on("end", () => resolve(bytes));
    });
    request.on("error", reject);
  });

/** @type {import("../run.mjs").Scenario[]} */
export const start = [
  [
    "The app loads with at most 4 requests and 90 KiB, and again with one request that is answered with 304",
    async ({ newPerson }) => {
      const person = await newPerson("fresh");
      const { page, context } = person;
      await person.waitUntilSignedOut();
      const network = await context.newCDPSession(page);
      /** Requests for the app's files, and their bytes as transferred. @type {Map<string, {url: string, status?: number, bytes?: number}>} */
      const requests = new Map();
      network.on("Network.requestWillBeSent", ({ requestId, request }) => {
        const { protocol, pathname } = new URL(request.url);
        if (protocol.startsWith("http") && !/^\/(api|ws)(\/|$)/.test(pathname)) requests.set(requestId, { url: request.url });
      });
      network.on("Network.requestServedFromCache", ({ requestId }) => requests.delete(requestId));
      network.on("Network.responseReceived", ({ requestId, response }) => {
        // A disk cache reports no event of its own.
        if (response.fromDiskCache) requests.delete(requestId);
      });
      network.on("Network.responseReceivedExtraInfo", ({ requestId, statusCode }) => {
        const request = requests.get(requestId);
        if (request) request.status = statusCode;
      });
      network.on("Network.loadingFinished", ({ requestId, encodedDataLength }) => {
        const request = requests.get(requestId);
        if (request) request.bytes = encodedDataLength;
      });
      await network.send("Network.enable");

      await network.send("Network.clearBrowserCache");
      await page.goto("about:blank");
      requests.clear();
      await page.goto(person.url);
      await person.waitUntilSignedOut();
      await page.waitForLoadState("networkidle");
      const cold = [...requests.values()];
      const bytes = cold.reduce((sum, each) => sum + (each.bytes ?? 0), 0);
      assert.ok(cold.length >= 3 && cold.length <= MAX_REQUESTS, JSON.stringify(cold));
      assert.ok(bytes > 10_000 && bytes <= MAX_BYTES, `${bytes} bytes: ${JSON.stringify(cold)}`);

      requests.clear();
      await page.reload();
      await person.waitUntilSignedOut();
      await page.waitForLoadState("networkidle");
      const warm = [...requests.values()].map(({ url, status }) => [url, status]);
      assert.deepEqual(warm, [[new URL("/", person.url).href, 304]]);
      console.log(`        ${cold.length} requests, ${bytes} bytes; again: ${warm.length} request`);
      await person.close();
    },
  ],
  [
    "The app of a signed-in user loads with at most 4 requests and 90 KiB, and one more when a message has markers",
    async ({ newPerson, admin, adminPassword, base, bensProxy, password, run }) => {
      /** @type {string[]} */
      const requests = [];
      const proxy = await startProxy(base, bensProxy.source, (bytes, fromClient) => {
        if (!fromClient) return;
        for (const [, path] of bytes.toString("latin1").matchAll(/^GET (\S+) HTTP/gm)) {
          if (!/^\/(api|ws)\//.test(path)) requests.push(path);
        }
      });
      const root = await apiOf(base.href, admin.name, adminPassword);
      const { id, name } = await root.createChannel(`start-${run}`);
      await root.post(id, `Plain text, with a link: https://example.com/, ${run}`);
      const person = await newPerson("early", { url: proxy.url });
      await person.signUp(password);
      await person.openChannel(name);
      const network = await person.context.newCDPSession(person.page);
      /** @param {string} text of a message that is shown at the end */
      const coldStart = async (text) => {
        await person.page.goto("about:blank");
        await network.send("Network.clearBrowserCache");
        requests.length = 0;
        await person.page.goto(person.url);
        await person.waitForMessages(text);
        await person.page.locator(".member").first().waitFor();
        await person.page.waitForTimeout(1_000);
        assert.ok(requests.some((path) => /^\/assets\/shared-/.test(path)), `no worker: ${requests}`);
        let bytes = 0;
        for (const path of requests) bytes += await compressedLength(new URL(path, base));
        console.log(`        ${requests.length} requests, ${bytes} bytes`);
        return bytes;
      };
      const plain = await coldStart("https://example.com/");
      assert.ok(requests.length <= MAX_REQUESTS, `${requests}`);
      assert.ok(plain <= MAX_BYTES, `${plain} bytes`);
      await root.post(id, `A word in **bold**, ${run}`);
      const marked = await coldStart("A word in bold");
      assert.equal(requests.length, MAX_REQUESTS + 1, `${requests}`);
      assert.ok(marked <= MAX_BYTES + 20 * 1024, `${marked} bytes`);
      await person.close();
      proxy.close();
    },
  ],
  [
    "A page shows the logo before its scripts run, at any address of the app",
    async ({ newPerson }) => {
      const person = await newPerson("slow");
      const { page, context } = person;
      await person.waitUntilSignedOut();
      /** @type {(() => void)[]} */
      const waiting = [];
      await context.route("**/*.js", (route) => void waiting.push(() => route.continue()));
      await page.goto(new URL("/a/nested/address", person.url).href, { waitUntil: "commit" });
      const logo = page.locator(".splash .logo");
      await logo.waitFor();
      assert.equal(await logo.evaluate((element) => getComputedStyle(element).width), "56px", "the page has no style");
      assert.equal(waiting.length, 1);
      for (const go of waiting) go();
      await person.waitUntilSignedOut();
      assert.equal(await page.locator(".splash").count(), 0);
      assert.deepEqual(person.errors, []);
      await person.close();
    },
  ],
  [
    "nginx lets browsers keep what has a hash in its name, and nothing else",
    async ({ base }) => {
      const page = await get(new URL("/", base));
      assert.equal(page.headers["cache-control"], "no-cache");
      assert.match(String(page.headers["content-security-policy"]), /script-src 'self';/);
      const html = await (await fetch(base)).text();
      assert.doesNotMatch(html, /<script(?![^>]* src=)/, "a script in the page, which the policy forbids");
      const assets = html.match(/\/assets\/[\w.-]+/g) ?? [];
      assert.equal(assets.length, 2, `a script and a style sheet: ${assets}`);
      assert.match(html, /<link[^>]* rel="icon"[^>]* href="data:image\/svg\+xml,/);
      for (const asset of assets) {
        const { statusCode, headers } = await get(new URL(asset, base));
        assert.deepEqual([statusCode, headers["cache-control"]], [200, "public, max-age=31536000, immutable"]);
        assert.equal(headers["x-content-type-options"], "nosniff");
      }
      const missing = await get(new URL("/assets/index-00000000.js", base));
      assert.deepEqual([missing.statusCode, missing.headers["cache-control"]], [404, "no-store"]);
      const licences = await fetch(new URL("/licenses.md", base));
      assert.match(await licences.text(), /^## sockjs-client/m);
      for (const path of ["/vendor/sockjs.min.js", "/sw.js", "/manifest.json"]) {
        assert.equal((await get(new URL(path, base))).headers["cache-control"], "no-cache", path);
      }
      assert.equal((await get(new URL("/README.md", base))).statusCode, 404);
    },
  ],
];
