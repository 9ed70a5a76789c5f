// Browsers and networks that are not as usual: blocked storage, wrong clocks, slow lines, sleep.
import assert from "node:assert/strict";
import { apiOf } from "../api.mjs";
import { startProxy } from "../proxy.mjs";

const HOUR_MS = 3_600_000;
const ROUND_TRIP_MS = 2_000;
/** The browser notices a silent connection after 45 s. */
const SLEEP_MS = 25_000;

/** Makes storage, and what browsers block with it, throw in each page. */
function blockStorage() {
  const refuse = () => {
    throw new DOMException("blocked", "SecurityError");
  };
  for (const name of ["localStorage", "sessionStorage", "indexedDB", "caches", "Notification"]) {
    Object.defineProperty(window, name, { get: refuse });
  }
  for (const name of ["BroadcastChannel", "SharedWorker"]) {
    Object.defineProperty(window, name, { value: new Proxy(class {}, { construct: refuse }) });
  }
  navigator.locks.request = async () => refuse();
}

/** @type {import("../run.mjs").Scenario[]} */
export const surroundings = [
  [
    "With storage, BroadcastChannel, workers, locks and Notification blocked, the app works, and signing out ends other tabs",
    async ({ ann, newPerson, password, channel, run }) => {
      const may = await newPerson("may", { before: blockStorage });
      assert.equal(await may.page.evaluate(() => typeof Object.getOwnPropertyDescriptor(window, "localStorage")?.get), "function");
      await may.signUp(password);
      await Promise.all([may.openChannel(channel), ann.openChannel(channel)]);
      await may.send(`Nothing is stored here, ${run}`);
      await ann.waitForMessages(`Nothing is stored here, ${run}`);
      await ann.send(`But it arrives, ${run}`);
      await may.waitForMessages(`But it arrives, ${run}`);
      await may.page.reload();
      await may.waitForMessages(`But it arrives, ${run}`);
      await may.page.getByRole("button", { name: "Members" }).click();
      const other = await may.context.newPage();
      may.watch(other);
      await other.goto(may.url);
      await may.waitUntilSignedIn(other);
      await other.getByRole("log").waitFor();
      await may.signOut();
      await may.waitUntilSignedOut(other);
      assert.deepEqual(may.errors, []);
      await may.close();
    },
  ],
  [
    "Where WebSockets are blocked, messages go over HTTP with SockJS, whose script is loaded then",
    async ({ ann, newPerson, base, bensProxy, password, channel, run }) => {
      /** @type {string[]} */
      const requests = [];
      const proxy = await startProxy(base, bensProxy.source, (bytes, fromClient) => {
        if (fromClient) requests.push(...(bytes.toString("latin1").match(/^(?:GET|POST) \S+/gm) ?? []));
      });
      const pia = await newPerson("pia", { url: proxy.url });
      await pia.signUp(password);
      await Promise.all([pia.openChannel(channel), ann.openChannel(channel)]);
      assert.ok(requests.includes("GET /ws/websocket"), `no WebSocket: ${requests}`);
      assert.ok(!requests.some((each) => each.includes("/ws/info")), "SockJS was used without need");
      proxy.refuseWebSockets();
      await pia.page.reload();
      await pia.send(`over HTTP, ${run}`);
      await ann.waitForMessages(`over HTTP, ${run}`);
      await ann.send(`and back, ${run}`);
      await pia.waitForMessages(`and back, ${run}`);
      assert.equal(proxy.opened.websocket, 1);
      assert.ok(requests.some((each) => /^POST \/ws\/\d+\/\w+\/xhr_send\?/.test(each)), `the message did not go over HTTP: ${requests}`);
      assert.deepEqual(pia.errors, []);
      await pia.close();
      proxy.close();
    },
  ],
  ...[-2, 2].map((hours) => /** @type {import("../run.mjs").Scenario} */ ([
    `A clock that is ${hours} h off changes neither the session nor the times shown`,
    async ({ ann, newPerson, base, password, channel, run }) => {
      const clock = await newPerson(`clock${hours > 0 ? "a" : "b"}`);
      const offset = hours * HOUR_MS;
      await clock.context.addInitScript((ms) => {
        const Real = Date;
        // @ts-ignore
        window.Date = class extends Real {
          constructor(/** @type {any[]} */ ...args) {
            // @ts-ignore
            super(...(args.length ? args : [Real.now() + ms]));
          }
          static now() {
            return Real.now() + ms;
          }
        };
      }, offset);
      await clock.page.reload();
      await clock.signUp(password);
      await Promise.all([clock.openChannel(channel), ann.openChannel(channel)]);
      const text = `What time is it, ${run} ${hours}`;
      // Held back, so that the time of a pending message is seen.
      await clock.send(text);
      await clock.waitForMessages(text);
      const row = clock.page.locator(".message").filter({ hasText: text });
      const pending = await row.locator("time").first().getAttribute("datetime");
      await ann.waitForMessages(text);
      await clock.waitUntilSent();
      const stored = await row.locator("time").first().getAttribute("datetime");
      for (const time of [pending, stored]) assert.ok(Math.abs(Date.parse(time ?? "") - Date.now()) < 60_000, `${time}`);
      // Of the day headings near the view, if any.
      for (const day of (await clock.page.locator(".day").allInnerTexts()).slice(-1)) assert.equal(day, "Today");
      await clock.page.reload();
      await clock.waitForMessages(text);
      const api = await apiOf(base.href, clock.name, password);
      assert.equal((await api.channels()).length > 0, true);
      await clock.close();
    },
  ])),
  [
    "With a round trip of 2 s, the app starts, sends and receives",
    async ({ ann, newPerson, base, bensProxy, password, channel, run }) => {
      const proxy = await startProxy(base, bensProxy.source);
      const far = await newPerson("far", { url: proxy.url });
      await far.signUp(password);
      proxy.slow(ROUND_TRIP_MS / 2);
      far.page.setDefaultTimeout(45_000);
      const started = Date.now();
      await far.page.reload();
      await far.waitUntilSignedIn();
      console.log(`        signed in after ${Date.now() - started} ms`);
      await Promise.all([far.openChannel(channel), ann.openChannel(channel)]);
      await far.send(`From far away, ${run}`);
      await ann.waitForMessages(`From far away, ${run}`);
      await ann.send(`From nearby, ${run}`);
      await far.assertMessages([`From far away, ${run}`, `From nearby, ${run}`]);
      await far.waitUntilSent();
      assert.equal(await far.page.locator(".toast").count(), 0);
      await far.close();
      proxy.close();
    },
  ],
  [
    "After a sleep that its connections did not survive, the app catches up within 10 s",
    async ({ ann, admin, newPerson, base, bensProxy, password, channel, run }) => {
      const proxy = await startProxy(base, bensProxy.source);
      const zoe = await newPerson("zoe", { url: proxy.url });
      await zoe.signUp(password);
      await Promise.all([zoe.openChannel(channel), ann.openChannel(channel)]);
      await ann.send(`Good night, ${run}`);
      await zoe.waitForMessages(`Good night, ${run}`);
      proxy.freeze();
      const asleep = zoe.sleep(SLEEP_MS);
      await ann.send(`While Zoe sleeps, ${run}`);
      await ann.waitUntilSent();
      await admin.createChannel(`night-${run}`);
      await asleep;
      const awake = Date.now();
      await zoe.waitForMessages(`While Zoe sleeps, ${run}`);
      await zoe.channel(`night-${run}`).waitFor();
      assert.ok(Date.now() - awake < 10_000, `${Date.now() - awake} ms`);
      await zoe.assertMessages([`Good night, ${run}`, `While Zoe sleeps, ${run}`]);
      await zoe.close();
      proxy.close();
    },
  ],
  [
    "A nested address loads the app, and signing in there works",
    async ({ newPerson, password }) => {
      const nia = await newPerson("nia");
      await nia.page.goto(new URL("/nonsense/path/deep", nia.url).href);
      await nia.signUp(password);
      await nia.page.reload();
      await nia.waitUntilSignedIn();
      await nia.page.getByRole("log").waitFor();
      await nia.page.getByText("Connecting…").waitFor({ state: "detached" });
      assert.deepEqual(nia.errors, []);
      await nia.close();
    },
  ],
];
