// The installed app: its manifest, its service worker, a start without a network.
import assert from "node:assert/strict";
import http from "node:http";
import net from "node:net";
import { apiOf } from "../api.mjs";
import { startProxy } from "../proxy.mjs";
import { until } from "../until.mjs";

/** The paths of what the page has kept of a user, and the text of each. @param {import("playwright-core").Page} page */
const keptBy = (page) =>
  page.evaluate(async () => {
    const names = (await caches.keys()).filter((name) => name.startsWith("kept "));
    /** @type {[string, string][]} */
    const kept = [];
    for (const name of names) {
      const cache = await caches.open(name);
      for (const request of await cache.keys()) {
        kept.push([new URL(request.url).pathname, (await (await cache.match(request))?.text()) ?? ""]);
      }
    }
    return kept;
  });

/** A server in front of the system, which can be down, and can have a new version of the page. @param {URL} base */
async function startFront(base) {
  const front = { url: "", down: false, version: "", requests: /** @type {{url: string, preload: boolean}[]} */ ([]), close: () => server.close() };
  const server = http.createServer((request, response) => {
    if (front.down) return void request.socket.destroy();
    front.requests.push({ url: String(request.url), preload: "service-worker-navigation-preload" in request.headers });
    const page = front.version !== "" && request.url === "/";
    // The changed page has another length, and no tag.
    const { "if-none-match": _tag, "if-modified-since": _time, ...always } = request.headers;
    const headers = { ...(page ? always : request.headers), "accept-encoding": "identity" };
    const forward = http.request(new URL(String(request.url), base), { method: request.method, headers }, (answer) => {
      if (!page) return void (response.writeHead(answer.statusCode ?? 502, answer.headers), answer.pipe(response));
      let html = "";
      answer.setEncoding("utf8").on("data", (text) => (html += text));
      answer.on("end", () => {
        const { "content-length": _, etag: __, ...rest } = answer.headers;
        response.writeHead(200, rest);
        response.end(html.replace("<html", `<html data-version="${front.version}"`));
      });
    });
    forward.on("error", () => response.destroy());
    request.pipe(forward);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(undefined)));
  front.url = `http://127.0.0.1:${/** @type {net.AddressInfo} */ (server.address()).port}`;
  return front;
}

/** @type {import("../run.mjs").Scenario[]} */
export const installable = [
  [
    "The app can be installed, starts without a network, and takes a new version at the next load",
    async ({ newPerson, base }) => {
      const front = await startFront(base);
      const person = await newPerson("installed", { url: front.url, serviceWorkers: "allow" });
      const { page, context } = person;
      await person.waitUntilSignedOut();
      await page.waitForFunction(async () => (await (await caches.open("shell")).keys()).length >= 3);
      // Only an activated worker has enabled preloads.
      await page.waitForFunction(async () => (await navigator.serviceWorker.ready).active?.state === "activated");
      const network = await context.newCDPSession(page);
      await network.send("Page.enable");
      let manifest = await network.send("Page.getAppManifest");
      // The browser may be reading it.
      for (let tries = 0; !manifest.data && tries < 20; tries++) {
        await page.waitForTimeout(250);
        manifest = await network.send("Page.getAppManifest");
      }
      const { errors, data } = manifest;
      assert.deepEqual(errors, []);
      for (const { src, type, sizes } of JSON.parse(String(data)).icons) {
        const answer = await fetch(new URL(src, base));
        assert.equal(answer.headers.get("content-type"), type);
        const bytes = Buffer.from(await answer.arrayBuffer());
        assert.equal(`${bytes.readUInt32BE(16)}x${bytes.readUInt32BE(20)}`, sizes);
      }
      const { installabilityErrors } = await network.send("Page.getInstallabilityErrors");
      assert.deepEqual(installabilityErrors.map(({ errorId }) => errorId).filter((id) => id !== "in-incognito"), []);

      // A start with the worker: one request, and perhaps the browser's look for a new worker.
      front.requests.length = 0;
      await page.reload();
      await person.waitUntilSignedOut();
      const shell = front.requests.filter(({ url }) => !/^\/(api|ws)\/|^\/sw\.js$/.test(url));
      assert.deepEqual(shell, [{ url: "/", preload: true }]);

      front.version = "2";
      await page.reload();
      await person.waitUntilSignedOut();
      assert.equal(await page.evaluate(() => document.documentElement.dataset.version), "2");

      front.down = true;
      await page.reload();
      await page.getByText("The server cannot be reached. Trying again…").waitFor();
      assert.equal(await page.evaluate(() => document.documentElement.dataset.version), "2");
      front.down = false;
      await person.waitUntilSignedOut();

      // Answers of the API never come from the worker.
      const urls = await page.evaluate(async () => (await (await caches.open("shell")).keys()).map(({ url }) => new URL(url).pathname));
      assert.ok(urls.every((path) => path === "/" || path.startsWith("/assets/")), String(urls));
      assert.deepEqual(person.errors, []);
      await person.close();
      front.close();
    },
  ],
  [
    "Without a network, the channels opened last can be read and written in; signing out removes what was kept",
    async ({ ann, newPerson, base, bensProxy, password, channel, run, screenshot }) => {
      const proxy = await startProxy(base, bensProxy.source);
      const sam = await newPerson("sam", { url: proxy.url, serviceWorkers: "allow" });
      const { page } = sam;
      await sam.signUp(password);
      await Promise.all([sam.openChannel(channel), ann.openChannel(channel)]);
      const [first, second, last] = [`kept in **bold**, ${run}`, `deleted meanwhile, ${run}`, `written offline, ${run}`];
      await ann.send(first);
      await ann.send(second);
      await sam.waitForMessages(`kept in bold, ${run}`, second);
      await page.waitForFunction(async () => (await (await caches.open("shell")).keys()).length >= 4);
      // The shell is in the cache before its worker answers requests.
      await page.evaluate(async () => void (await navigator.serviceWorker.ready));
      const isKept = async () => (await keptBy(page)).some(([path, text]) => path.startsWith("/kept/messages/") && text.includes(second));
      await until(isKept, true);

      proxy.cut();
      await page.reload();
      await sam.waitForMessages(`kept in bold, ${run}`, second);
      assert.equal(await page.locator(".message strong", { hasText: "bold" }).count() > 0, true, "without Markdown");
      await page.getByText("The server cannot be reached. You see what this browser has kept.").waitFor();
      await screenshot(sam, "offline");
      await sam.send(last);
      await page.locator(".message.pending", { hasText: last }).waitFor();

      const api = await apiOf(base.href, ann.name, password);
      const { id } = (await api.channels()).find(({ name }) => name === channel);
      const { id: messageId } = (await api.messages(id)).find(({ content }) => content === second);
      await api.deleteMessage(messageId);
      proxy.restore();
      await page.evaluate(() => dispatchEvent(new Event("online")));
      await ann.waitForMessages(last);
      await sam.waitUntilSent();
      await sam.message(second).waitFor({ state: "detached" });

      await sam.signOut();
      await until(async () => (await keptBy(page)).length, 0);
      proxy.cut();
      await page.reload();
      await page.getByText("The server cannot be reached. Trying again…").waitFor();
      assert.equal(await page.getByText(run).count(), 0);
      assert.deepEqual(sam.errors, []);
      await sam.close();
      proxy.close();
    },
  ],
];
