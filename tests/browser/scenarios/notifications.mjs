import assert from "node:assert/strict";
import { apiOf } from "../api.mjs";

/** @typedef {import("../browser.mjs").Person} Person */

/** @param {Person} person @param {import("playwright-core").Page} [page] */
const bell = (person, page = person.page) => page.getByRole("button", { name: /^Notifications/ });

/** @param {Person} person @param {number} count @param {import("playwright-core").Page} [page] */
const waitForBadge = (person, count, page = person.page) =>
  page.getByRole("button", { name: count ? `Notifications: ${count}` : "Notifications", exact: true }).waitFor();

/** @param {Person} person */
async function openPanel(person) {
  await bell(person).click();
  return person.page.getByRole("dialog", { name: "Notifications" });
}

/** Simulates a switch to or from another tab. @param {Person} person @param {boolean} hidden */
const setHidden = (person, hidden) =>
  person.page.evaluate((state) => {
    Object.defineProperty(document, "visibilityState", { configurable: true, get: () => state });
    document.dispatchEvent(new Event("visibilitychange"));
  }, hidden ? "hidden" : "visible");

/** @type {import("../run.mjs").Scenario[]} */
export const notifications = [
  [
    "A message in a private conversation notifies the other participant live, with a link to it",
    async ({ ann, ben, channel, run, screenshot }) => {
      await ben.openChannel(channel);
      await ann.openChannel(ben.name);
      await waitForBadge(ben, 0);
      await ann.send(`Have you seen this, ${run}?`);
      await ann.send("그리고 이것도요 🙂");
      await waitForBadge(ben, 2);
      const list = await openPanel(ben);
      const rows = list.getByRole("listitem");
      await rows.nth(1).waitFor();
      assert.match(await rows.nth(0).innerText(), /그리고 이것도요 🙂\s+just now/, "the newest is first");
      assert.match(await rows.nth(1).innerText(), new RegExp(`${ann.name}\\s+Have you seen this, ${run}\\?`));
      await screenshot(ben, "notifications");
      await rows.nth(0).getByRole("link").click();
      await ben.page.getByRole("heading", { level: 1, name: ann.name }).waitFor();
      await ben.waitForMessages("그리고 이것도요 🙂");
      await waitForBadge(ben, 0);
      await list.waitFor({ state: "hidden" });
    },
  ],
  [
    "A message in the open channel notifies only while the tab is hidden",
    async ({ ann, ben, base, password, run }) => {
      const api = await apiOf(base.href, ben.name, password);
      await setHidden(ben, true);
      await ann.send(`While you are away, ${run}`);
      await waitForBadge(ben, 1);
      assert.equal((await api.notifications()).length, 1);
      await setHidden(ben, false);
      await waitForBadge(ben, 0);
      await ann.send(`While you are here, ${run}`);
      await ben.waitForMessages(`While you are here, ${run}`);
      for (let tries = 0; (await api.notifications()).length; tries++) {
        assert.ok(tries < 50, "the server still has the notification");
        await ben.page.waitForTimeout(100);
      }
    },
  ],
  [
    "A public channel notifies users who chose all messages, until they choose none",
    async ({ ann, ben, admin, channel, run }) => {
      await Promise.all([ann.openChannel(channel), ben.openChannel(channel)]);
      /** @param {string} name */
      const choose = async (name) => {
        const saved = ben.page.waitForResponse((response) => response.request().method() === "PATCH");
        await (await ben.channelOption(name, "radio")).check();
        assert.equal((await saved).status(), 200);
        await ben.page.keyboard.press("Escape");
        await ben.page.getByRole("dialog", { name: "Channel options" }).waitFor({ state: "hidden" });
      };
      assert.equal(await (await ben.channelOption("Mentions and replies", "radio")).isChecked(), true);
      await ben.page.keyboard.press("Escape");
      await choose("All messages");
      const focused = await ben.page.evaluate(() => document.activeElement?.getAttribute("aria-label"));
      assert.equal(focused, "Channel options", "the focus returns");
      await ben.openChannel(ann.name);
      await admin.openChannel(channel);
      await admin.send(`For those who want to know, ${run}`);
      await waitForBadge(ben, 1);
      const link = ben.channel(channel);
      assert.equal(await link.locator(".bubble").innerText(), "1");
      await ben.openChannel(channel);
      await waitForBadge(ben, 0);
      await choose("Nothing");
      await ben.openChannel(ann.name);
      await admin.send(`For nobody, ${run}`);
      await ann.waitForMessages(`For nobody, ${run}`);
      // A later message that notifies Ben: an earlier notification would have arrived before it.
      await ann.openChannel(ben.name);
      await setHidden(ben, true);
      await ann.send(`For Ben, ${run}`);
      await waitForBadge(ben, 1);
      await setHidden(ben, false);
      await waitForBadge(ben, 0);
    },
  ],
  [
    "Dismissing one or all notifications removes them from every tab and from the server",
    async ({ ann, ben, base, password, channel }) => {
      await Promise.all([ann.openChannel(ben.name), ben.openChannel(channel)]);
      const other = await ben.context.newPage();
      ben.watch(other);
      await other.goto(ben.page.url());
      await ben.waitUntilSignedIn(other);
      // A background page renders rarely, and each click waits for a frame.
      await ben.page.bringToFront();
      for (const text of ["One.", "Two.", "Three."]) await ann.send(text);
      await Promise.all([waitForBadge(ben, 3), waitForBadge(ben, 3, other)]);
      const list = await openPanel(ben);
      await list.getByRole("button", { name: /^Dismiss: / }).first().click();
      await Promise.all([waitForBadge(ben, 2), waitForBadge(ben, 2, other)]);
      const focused = await ben.page.evaluate(() => document.activeElement?.getAttribute("aria-label"));
      assert.match(focused ?? "", /^Dismiss: /, "the focus moves to the next one");
      await list.getByRole("button", { name: "Dismiss all" }).click();
      await list.getByText("Nothing new.").waitFor();
      await Promise.all([waitForBadge(ben, 0), waitForBadge(ben, 0, other)]);
      await other.close();
      const api = await apiOf(base.href, ben.name, password);
      assert.deepEqual(await api.notifications(), []);
    },
  ],
  [
    "After a resync, the app reads the lists again",
    async ({ ann, ben, bensProxy, channel }) => {
      await Promise.all([ann.openChannel(ben.name), ben.openChannel(channel)]);
      await waitForBadge(ben, 0);
      bensProxy.cut();
      await ann.send("Missed.");
      await ann.waitUntilSent();
      const body = 'id: nowhere\nevent: resync\ndata: {"reason":"expired"}\n\n';
      await ben.page.route("**/api/sse*", (route) => route.fulfill({ contentType: "text/event-stream", body }), { times: 1 });
      bensProxy.restore();
      await waitForBadge(ben, 1);
      await ben.openChannel(ann.name);
      await waitForBadge(ben, 0);
    },
  ],
];
