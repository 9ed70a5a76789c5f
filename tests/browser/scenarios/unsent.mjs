// What was written and not delivered yet: it survives lost lines, reloads and the end of the session, goes out once and in
// order, and nothing that is shown as not sent arrives.
import assert from "node:assert/strict";
import { apiOf } from "../api.mjs";
import { startProxy } from "../proxy.mjs";

/** @typedef {import("../browser.mjs").Person} Person */

/** @param {Person} person */
const composer = (person) => person.page.locator(".composer textarea");

/** @param {Person} person @param {number} count */
async function waitForPending(person, count) {
  await person.page.waitForFunction((wanted) => document.querySelectorAll(".message.pending").length === wanted, count);
  assert.equal(await person.page.locator(".message.failed").count(), 0);
}

/** @type {import("../run.mjs").Scenario[]} */
export const unsent = [
  [
    "Messages written on a line that is silently gone arrive in order, and are never shown as not sent",
    async ({ ann, newPerson, base, bensProxy, password, channel, run }) => {
      const proxy = await startProxy(base, bensProxy.source);
      const sue = await newPerson("sue", { url: proxy.url });
      await sue.signUp(password);
      await Promise.all([sue.openChannel(channel), ann.openChannel(channel)]);
      await sue.page.evaluate(() => {
        const window_ = /** @type {any} */ (window);
        window_.failures = 0;
        new MutationObserver(() => (window_.failures += document.querySelectorAll(".message.failed").length)).observe(
          document.body,
          { subtree: true, childList: true, attributes: true },
        );
      });
      proxy.silence();
      await sue.send(`black 1, ${run}`);
      // The line was found to be dead after 18 s, and the message given up after 15 s.
      await sue.page.waitForTimeout(17_000);
      await sue.send(`black 2, ${run}`);
      await sue.page.getByText("Reconnecting…").waitFor();
      await sue.page.waitForTimeout(2_000);
      proxy.restore();
      const texts = [`black 1, ${run}`, `black 2, ${run}`];
      await Promise.all([ann.assertMessages(texts), sue.assertMessages(texts)]);
      await sue.waitUntilSent();
      assert.equal(await sue.page.evaluate(() => /** @type {any} */ (window).failures), 0);
      await sue.close();
      proxy.close();
    },
  ],
  [
    "What waits, and the draft, survive a reload, a new role and signing in again; signing out asks first",
    async ({ ann, admin, adminPassword, newPerson, base, bensProxy, password, channel, run, screenshot }) => {
      const proxy = await startProxy(base, bensProxy.source);
      const rob = await newPerson("rob", { url: proxy.url });
      await rob.signUp(password);
      const { page } = rob;
      const [own, root] = await Promise.all([apiOf(base.href, rob.name, password), apiOf(base.href, admin.name, adminPassword)]);
      await Promise.all([rob.openChannel(channel), ann.openChannel(channel)]);
      proxy.refuseSockets();
      await page.getByText("Reconnecting…").waitFor();
      const texts = [1, 2, 3].map((number) => `waits ${number}, ${run}`);
      await rob.send(texts[0]);
      await rob.send(texts[1]);
      await composer(rob).fill("Half a sent");
      await waitForPending(rob, 2);
      await page.reload();
      await waitForPending(rob, 2);
      assert.equal(await composer(rob).inputValue(), "Half a sent");
      await rob.waitForMessages(...texts.slice(0, 2));

      await page.getByRole("button", { name: "Sign out" }).click();
      await page.getByRole("heading", { name: "2 messages have not been sent yet" }).waitFor();
      await screenshot(rob, "sign-out");
      await page.getByRole("button", { name: "Cancel" }).click();

      await root.setRole(own.user.id, "CHANNEL_MANAGER");
      await rob.waitUntilSignedOut();
      await page.getByText("Your role is now Channel manager. Please sign in again.").waitFor();
      assert.equal(await page.getByLabel("Username").inputValue(), rob.name);
      await screenshot(rob, "session-end");
      await page.getByLabel("Password").fill(password);
      await page.getByRole("button", { name: "Sign in", exact: true }).click();
      await page.getByText("Your role is now Channel manager.").waitFor();
      await page.getByRole("button", { name: "Create channel" }).waitFor();
      await waitForPending(rob, 2);
      await composer(rob).fill(texts[2]);
      await composer(rob).press("Enter");
      await waitForPending(rob, 3);
      await composer(rob).fill("Half a sentence");
      proxy.restore();
      await Promise.all([ann.assertMessages(texts), rob.assertMessages(texts)]);
      await rob.waitUntilSent();
      await page.reload();
      await rob.assertMessages(texts);
      assert.equal(await composer(rob).inputValue(), "Half a sentence");
      await waitForPending(rob, 0);

      // The draft of a channel that goes away while the page is closed.
      const { id } = await root.createChannel(`closing-${run}`);
      await rob.openChannel(`closing-${run}`);
      await composer(rob).fill("Nobody reads this");
      await page.goto("about:blank");
      await root.deleteChannel(id);
      await page.goto(rob.url);
      await rob.channel(`closing-${run}`).click();
      await page.getByRole("heading", { name: "This channel is gone" }).waitFor();
      assert.equal(await page.getByRole("textbox", { name: "Your unsent message" }).inputValue(), "Nobody reads this");

      await rob.signOut();
      assert.deepEqual(await page.evaluate(() => Object.keys(localStorage).filter((key) => key.includes(".draft."))), []);
      await rob.close();
      proxy.close();
    },
  ],
  [
    "A draft in two tabs is one: sent in one tab, it is gone from the other",
    async ({ ann, newPerson, password, channel, run }) => {
      const two = await newPerson("two");
      await two.signUp(password);
      await Promise.all([two.openChannel(channel), ann.openChannel(channel)]);
      const other = await two.context.newPage();
      two.watch(other);
      await other.goto(two.page.url());
      const box = other.locator(".composer textarea");
      await box.waitFor();
      await composer(two).fill(`From one tab, ${run}`);
      await other.waitForFunction((text) => document.querySelector("textarea")?.value === text, `From one tab, ${run}`);
      await composer(two).press("Enter");
      await other.waitForFunction(() => document.querySelector("textarea")?.value === "");
      await ann.assertMessages([`From one tab, ${run}`]);
      await two.close();
    },
  ],
];
