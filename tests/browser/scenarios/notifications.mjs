import assert from "node:assert/strict";
import { apiOf } from "../api.mjs";

/** @typedef {import("../browser.mjs").Person} Person */

/** @param {Person} person @param {import("playwright-core").Page} [page] */
const bell = (person, page = person.page) => page.getByRole("button", { name: /^Notifications/ });

/** @param {Person} person @param {number} count @param {import("playwright-core").Page} [page] */
const rings = (person, count, page = person.page) =>
  page.getByRole("button", { name: count ? `Notifications (${count})` : "Notifications", exact: true }).waitFor();

/** @param {Person} person */
async function panel(person) {
  await bell(person).click();
  return person.page.getByRole("dialog", { name: "Notifications" });
}

/** As when the reader looks at another window. @param {Person} person @param {boolean} hidden */
const turnAway = (person, hidden) =>
  person.page.evaluate((state) => {
    Object.defineProperty(document, "visibilityState", { configurable: true, get: () => state });
    document.dispatchEvent(new Event("visibilitychange"));
  }, hidden ? "hidden" : "visible");

/** @type {import("../run.mjs").Scenario[]} */
export const notifications = [
  [
    "A message in a private conversation rings the bell of the other, live, and a step leads to it",
    async ({ ann, ben, channel, run, picture }) => {
      await ben.enter(channel);
      await ann.enter(ben.name);
      await rings(ben, 0);
      await ann.say(`Have you seen this, ${run}?`);
      await ann.say("그리고 이것도요 🙂");
      await rings(ben, 2);
      const list = await panel(ben);
      const rows = list.getByRole("listitem");
      await rows.nth(1).waitFor();
      assert.match(await rows.nth(0).innerText(), /그리고 이것도요 🙂\s+just now/, "the newest comes first");
      assert.match(await rows.nth(1).innerText(), new RegExp(`${ann.name}\\s+Have you seen this, ${run}\\?`));
      await picture(ben, "notifications");
      await rows.nth(0).getByRole("link").click();
      await ben.page.getByRole("heading", { level: 1, name: ann.name }).waitFor();
      await ben.sees("그리고 이것도요 🙂");
      await rings(ben, 0);
      await list.waitFor({ state: "hidden" });
    },
  ],
  [
    "What comes for the channel on screen rings only while nobody is looking",
    async ({ ann, ben, base, password, run }) => {
      const api = await apiOf(base.href, ben.name, password);
      await turnAway(ben, true);
      await ann.say(`While you are away, ${run}`);
      await rings(ben, 1);
      assert.equal((await api.notifications()).length, 1);
      await turnAway(ben, false);
      await rings(ben, 0);
      await ann.say(`While you are here, ${run}`);
      await ben.sees(`While you are here, ${run}`);
      for (let tries = 0; (await api.notifications()).length; tries++) {
        assert.ok(tries < 50, "the server still keeps it");
        await ben.page.waitForTimeout(100);
      }
    },
  ],
  [
    "A public channel rings for those who asked it to, and no longer when they take it back",
    async ({ ann, ben, admin, channel, run }) => {
      await Promise.all([ann.enter(channel), ben.enter(channel)]);
      const toggle = await ben.option("Notify me of new messages", "switch");
      assert.equal(await toggle.getAttribute("aria-checked"), "false");
      await toggle.click();
      await ben.page.locator('[role=switch][aria-checked=true][aria-busy="false"]').waitFor();
      await ben.page.keyboard.press("Escape");
      await toggle.waitFor({ state: "hidden" });
      const focused = await ben.page.evaluate(() => document.activeElement?.getAttribute("aria-label"));
      assert.equal(focused, "Channel options", "the focus returns");
      await ben.enter(ann.name);
      await admin.enter(channel);
      await admin.say(`For those who want to know, ${run}`);
      await rings(ben, 1);
      const link = ben.channel(channel);
      assert.equal(await link.locator(".bubble").innerText(), "1");
      await ben.enter(channel);
      await rings(ben, 0);
      await (await ben.option("Notify me of new messages", "switch")).click();
      await ben.page.locator('[role=switch][aria-checked=false][aria-busy="false"]').waitFor();
      await ben.enter(ann.name);
      await admin.say(`For nobody, ${run}`);
      await ann.sees(`For nobody, ${run}`);
      // Written later, and for somebody: what is still to come for Ben would be here by now.
      await ann.enter(ben.name);
      await turnAway(ben, true);
      await ann.say(`For Ben, ${run}`);
      await rings(ben, 1);
      await turnAway(ben, false);
      await rings(ben, 0);
    },
  ],
  [
    "What is dismissed in one tab goes in the other, one by one and all at once, and stays away",
    async ({ ann, ben, base, password, channel }) => {
      await ben.enter(channel);
      const other = await ben.context.newPage();
      ben.watch(other);
      await other.goto(ben.page.url());
      await ben.isIn(other);
      // A page behind another is drawn seldom, and each press waits for that.
      await ben.page.bringToFront();
      for (const text of ["One.", "Two.", "Three."]) await ann.say(text);
      await Promise.all([rings(ben, 3), rings(ben, 3, other)]);
      const list = await panel(ben);
      await list.getByRole("button", { name: /^Dismiss: / }).first().click();
      await Promise.all([rings(ben, 2), rings(ben, 2, other)]);
      const focused = await ben.page.evaluate(() => document.activeElement?.getAttribute("aria-label"));
      assert.match(focused ?? "", /^Dismiss: /, "the focus goes on to the next one");
      await list.getByRole("button", { name: "Dismiss all" }).click();
      await list.getByText("Nothing new.").waitFor();
      await Promise.all([rings(ben, 0), rings(ben, 0, other)]);
      await other.close();
      const api = await apiOf(base.href, ben.name, password);
      assert.deepEqual(await api.notifications(), []);
    },
  ],
  [
    "When the stream cannot tell what was missed, the lists are read again",
    async ({ ann, ben, bensLine, channel }) => {
      await ben.enter(channel);
      await rings(ben, 0);
      bensLine.cut();
      await ann.say("Missed.");
      await ann.everythingSent();
      const body = 'id: nowhere\nevent: resync\ndata: {"reason":"expired"}\n\n';
      await ben.page.route("**/api/sse*", (route) => route.fulfill({ contentType: "text/event-stream", body }), { times: 1 });
      bensLine.mend();
      await rings(ben, 1);
      await ben.enter(ann.name);
      await rings(ben, 0);
    },
  ],
];
