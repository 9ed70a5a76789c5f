// Unread messages: counts and mentions of every channel, the divider, and what counts as read.
import assert from "node:assert/strict";
import { apiOf } from "../api.mjs";
import { until } from "../until.mjs";

/** @typedef {import("../browser.mjs").Person} Person */

/** The description of a channel's link. @param {Person} person @param {string} name @param {import("playwright-core").Page} [page] */
const newsOf = (person, name, page = person.page) =>
  page
    .getByRole("navigation", { name: "Channels" })
    .getByRole("link", { name, exact: true })
    .locator(".news")
    .getAttribute("aria-label", { timeout: 100 })
    .catch(() => null);

/** The public channels of this run, from top to bottom. @param {Person} person @param {string} run */
const order = async (person, run) =>
  (await person.page.locator(".channel-section").first().locator("a .name").allInnerTexts()).filter((name) => name.endsWith(run));

/** @type {import("../run.mjs").Scenario[]} */
export const unread = [
  [
    "A message in a channel that was never opened counts at once in both tabs, with mentions, and moves the channel up",
    async ({ ann, ben, admin, base, password, adminPassword, run, screenshot }) => {
      const [busy, quiet] = [`busy-${run}`, `quiet-${run}`];
      const adminApi = await apiOf(base.href, admin.name, adminPassword);
      const { id } = await adminApi.createChannel(busy);
      await adminApi.createChannel(quiet);
      const tab = await ben.context.newPage();
      ben.watch(tab);
      await tab.goto(ben.page.url());
      await ben.waitUntilSignedIn(tab);
      await ben.channel(busy).waitFor();
      // The page has its read status for the new channel.
      await ben.page.waitForTimeout(1_000);
      const api = await apiOf(base.href, ann.name, password);
      for (let number = 1; number <= 30; number++) await api.post(id, `Number ${number} ${run}`);
      await until(() => newsOf(ben, busy), "30 unread messages");
      await api.post(id, `@${ben.name}님, look`);
      for (const page of [ben.page, tab]) await until(() => newsOf(ben, busy, page), "31 unread messages, 1 mention");
      assert.equal((await order(ben, run))[0], busy);
      assert.equal(await newsOf(ben, quiet), null);
      const weight = await ben.channel(busy).evaluate((link) => Number(getComputedStyle(link).fontWeight));
      assert.ok(weight >= 600, `bold: ${weight}`);
      await screenshot(ben, "unread");

      // A tab that comes later has the counts too.
      const late = await ben.context.newPage();
      ben.watch(late);
      await late.goto(ben.page.url());
      await ben.waitUntilSignedIn(late);
      await until(() => newsOf(ben, busy, late), "31 unread messages, 1 mention");
      await late.close();

      await ben.page.bringToFront();
      await ben.openChannel(busy);
      for (const page of [ben.page, tab]) await until(() => newsOf(ben, busy, page), null);
      await tab.close();
    },
  ],
  [
    "The reader sees where the new messages begin, goes there, and Escape ends it; another device shows it at once",
    async ({ ann, ben, password, channel, newPerson, run, screenshot }) => {
      const busy = `busy-${run}`;
      const divider = ben.page.getByRole("separator").filter({ hasText: "New messages" });
      const bar = ben.page.locator(".news-bar");
      await bar.getByRole("button", { name: "31 new messages" }).click();
      await divider.waitFor();
      const box = await divider.boundingBox();
      assert.ok(box && box.y > 0 && box.y < 700, JSON.stringify(box));
      await ben.message(`Number 1 ${run}`).first().waitFor();
      await screenshot(ben, "new-messages");
      // It stays while the reader reads.
      await ann.openChannel(busy);
      await ann.send(`While you read, ${run}`);
      await ben.page.locator(".composer textarea").focus();
      await ben.page.keyboard.press("Escape");
      await ben.waitForMessages(`While you read, ${run}`);
      await divider.waitFor({ state: "detached" });
      await bar.waitFor({ state: "detached" });

      const device = await newPerson("device", { url: ben.url });
      device.name = ben.name;
      await device.signIn(password);
      await device.waitUntilSignedIn();
      await device.channel(busy).waitFor();
      await until(() => newsOf(device, busy), null);
      await device.openChannel(channel);
      await ben.openChannel(channel);
      await ann.send(`@${ben.name}, for two devices, ${run}`);
      for (const person of [ben, device]) await until(() => newsOf(person, busy), "1 unread message, 1 mention");
      await ben.openChannel(busy);
      for (const person of [ben, device]) await until(() => newsOf(person, busy), null);

      // The same with the channel open on the other device, which nobody looks at.
      await device.openChannel(busy);
      await ben.openChannel(channel);
      await device.page.evaluate(() => {
        Object.defineProperty(document, "visibilityState", { configurable: true, get: () => "hidden" });
        document.dispatchEvent(new Event("visibilitychange"));
      });
      await ann.send(`On the other device, ${run}`);
      for (const person of [ben, device]) await until(() => newsOf(person, busy), "1 unread message");
      const there = device.page.getByRole("separator").filter({ hasText: "New messages" });
      await there.waitFor();
      await ben.openChannel(busy);
      await until(() => newsOf(device, busy), null);
      await there.waitFor({ state: "detached" });
      await device.close();
    },
  ],
  [
    "A muted channel shows nothing, and messages below a reader stay unread until the end is reached",
    async ({ ann, ben, channel, run }) => {
      const busy = `busy-${run}`;
      await ben.openChannel(busy);
      await (await ben.channelOption("Nothing", "radio")).check();
      await ben.page.keyboard.press("Escape");
      await ben.openChannel(channel);
      await ann.openChannel(busy);
      await ann.send(`Into silence, ${run}`);
      await ann.waitUntilSent();
      await ann.openChannel(channel);
      await ann.send(`Sound, ${run}`);
      await ben.waitForMessages(`Sound, ${run}`);
      assert.equal(await newsOf(ben, busy), null);
      await ben.openChannel(busy);
      await (await ben.channelOption("Mentions and replies", "radio")).check();
      await ben.page.keyboard.press("Escape");

      await ben.page.getByRole("log").evaluate((log) => (log.scrollTop = 0));
      await ben.page.getByRole("button", { name: "Jump to the newest" }).waitFor();
      await ann.openChannel(busy);
      await ann.send(`Below, ${run}`);
      await until(() => newsOf(ben, busy), "1 unread message");
      await ben.page.getByRole("button", { name: "1 new message" }).click();
      await ben.waitForMessages(`Below, ${run}`);
      await until(() => newsOf(ben, busy), null);
    },
  ],
];
