// Many tabs of one user over HTTP/1.1, of which a browser opens at most six connections to a server, for all tabs together.
import assert from "node:assert/strict";
import { startProxy } from "../proxy.mjs";

/** @typedef {import("../browser.mjs").Person} Person */
/** @typedef {import("playwright-core").Page} Page */

const TABS = 10;
/** Tabs that write a message each. */
const WRITERS = 3;

/** Opens tabs until the user has this many. @param {Person} person @param {number} count @param {string} address */
async function openTabs(person, count, address) {
  while (person.context.pages().length < count) {
    const page = await person.context.newPage();
    person.watch(page);
    await page.goto(address);
    await person.waitUntilSignedIn(page);
    await page.getByRole("log").waitFor();
  }
  return person.context.pages();
}

/** @param {Page} page @param {string} text */
const shown = (page, text) => page.locator(".message .text").filter({ hasText: text });

/** Waits until each page shows the text, once. @param {Page[]} pages @param {string} text */
async function assertShown(pages, text) {
  await Promise.all(pages.map((page) => shown(page, text).first().waitFor()));
  for (const page of pages) assert.equal(await shown(page, text).count(), 1);
}

/** @type {import("../run.mjs").Scenario[]} */
export const tabs = [
  [
    "Ten tabs over HTTP/1.1 share one stream and one socket: each shows what another browser writes, and can write itself",
    async ({ ann, newPerson, base, bensProxy, password, channel, run }) => {
      const proxy = await startProxy(base, bensProxy.source);
      const ten = await newPerson("ten", { url: proxy.url });
      await ten.signUp(password);
      await Promise.all([ten.openChannel(channel), ann.openChannel(channel)]);
      const address = ten.page.url();
      await openTabs(ten, TABS, address);
      await ann.send(`To ten tabs, ${run}`);
      await assertShown(ten.context.pages(), `To ten tabs, ${run}`);
      assert.deepEqual(proxy.opened, { sse: 1, websocket: 1 });

      // Whichever tab ends, the others go on. The first one opened the connections.
      for (const round of [1, 2]) {
        await ten.context.pages()[0].close();
        await ann.send(`After closing ${round}, ${run}`);
        await assertShown(ten.context.pages(), `After closing ${round}, ${run}`);
      }
      const pages = await openTabs(ten, TABS, address);
      for (const [index, page] of pages.slice(-WRITERS).entries()) {
        const box = page.locator(".composer textarea");
        await box.fill(`From tab ${index}, ${run}`);
        await box.press("Enter");
        await assertShown(pages, `From tab ${index}, ${run}`);
      }
      await ann.waitForMessages(`From tab ${WRITERS - 1}, ${run}`);
      assert.deepEqual(proxy.opened, { sse: 1, websocket: 1 });

      assert.deepEqual(ten.errors, []);
      await ten.close();
      proxy.close();
    },
  ],
  [
    "A frozen tab holds nothing up, tabs catch up after a cut, and signing out ends them all",
    async ({ ann, newPerson, base, bensProxy, password, channel, run }) => {
      const proxy = await startProxy(base, bensProxy.source);
      const ten = await newPerson("few", { url: proxy.url });
      await ten.signUp(password);
      await Promise.all([ten.openChannel(channel), ann.openChannel(channel)]);
      await openTabs(ten, 3, ten.page.url());
      // A frozen tab holds nothing up, and has missed nothing when it goes on.
      const [frozen, ...others] = ten.context.pages();
      const devtools = await ten.context.newCDPSession(frozen);
      await devtools.send("Page.setWebLifecycleState", { state: "frozen" });
      await ann.send(`While one is frozen, ${run}`);
      await assertShown(others, `While one is frozen, ${run}`);
      await devtools.send("Page.setWebLifecycleState", { state: "active" });
      await assertShown([frozen], `While one is frozen, ${run}`);

      // After a cut, the tabs catch up, and what was written meanwhile goes out once.
      proxy.cut();
      await others[0].getByText("Reconnecting…").waitFor();
      await ann.send(`During the cut, ${run}`);
      await others[0].locator(".composer textarea").fill(`Written meanwhile, ${run}`);
      await others[0].locator(".composer textarea").press("Enter");
      proxy.restore();
      for (const text of [`During the cut, ${run}`, `Written meanwhile, ${run}`]) {
        await assertShown(ten.context.pages(), text);
      }
      await ann.assertMessages([`During the cut, ${run}`, `Written meanwhile, ${run}`]);

      // Signing out ends them all.
      await others[1].getByRole("button", { name: "Sign out" }).click();
      await Promise.all(ten.context.pages().map((page) => ten.waitUntilSignedOut(page)));
      assert.deepEqual(ten.errors, []);
      await ten.close();
      proxy.close();
    },
  ],
  [
    "Without a SharedWorker each tab has its own connections, and a hidden one keeps no stream",
    async ({ ann, newPerson, base, bensProxy, password, channel, run }) => {
      const proxy = await startProxy(base, bensProxy.source);
      const one = await newPerson("one", {
        url: proxy.url,
        before: () => {
          // Where storage is blocked, the constructor throws.
          window.SharedWorker = /** @type {any} */ (
            class {
              constructor() {
                throw new DOMException("blocked", "SecurityError");
              }
            }
          );
          // All tabs are visible for Chromium without a screen.
          Object.defineProperty(document, "visibilityState", { get: () => window.name || "visible" });
        },
      });
      await one.signUp(password);
      await Promise.all([one.openChannel(channel), ann.openChannel(channel)]);
      const address = one.page.url();
      for (let count = 2; count <= TABS; count++) {
        for (const page of one.context.pages()) {
          await page.evaluate(() => {
            window.name = "hidden";
            document.dispatchEvent(new Event("visibilitychange"));
          });
        }
        await openTabs(one, count, address);
      }
      await ann.send(`To ten single tabs, ${run}`);
      await assertShown(one.context.pages(), `To ten single tabs, ${run}`);
      assert.ok(proxy.opened.websocket >= TABS, JSON.stringify(proxy.opened));
      // A tab that is shown again gets the events that it has missed.
      const { page } = one;
      const other = await newPerson("new");
      await other.signUp(password);
      await one.context.pages()[TABS - 1].locator(".member", { hasText: other.name }).waitFor();
      assert.equal(await page.locator(".member", { hasText: other.name }).count(), 0, "a hidden tab has a stream");
      await page.evaluate(() => {
        window.name = "visible";
        document.dispatchEvent(new Event("visibilitychange"));
      });
      await page.locator(".member", { hasText: other.name }).waitFor();
      await other.close();
      await one.close();
      proxy.close();
    },
  ],
];
