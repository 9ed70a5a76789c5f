// Replies, reactions, emoji and mentions.
import assert from "node:assert/strict";
import { apiOf } from "../api.mjs";
import { until } from "../until.mjs";

/** @typedef {import("../browser.mjs").Person} Person */

/** The row of a message. @param {Person} person @param {string} text */
const row = (person, text) => person.page.locator(".message").filter({ has: person.page.locator(".text").filter({ hasText: text }) });

/** Presses a button in the tools of a message. @param {Person} person @param {string} text @param {string} name */
async function tool(person, text, name) {
  await row(person, text).hover();
  await row(person, text).locator(".tools").getByRole("button", { name }).click();
}

/** The reactions to a message, as "👍 2". @param {Person} person @param {string} text */
const reactions = (person, text) =>
  row(person, text).locator(".reaction:not(.more)").evaluateAll((all) => all.map((each) => each.textContent).join(" "));

/** Scrolls up until a message is shown. @param {Person} person @param {string} text */
async function scrollUpTo(person, text) {
  for (let tries = 0; !(await row(person, text).count()); tries++) {
    assert.ok(tries < 100, `${text} is not above`);
    await person.page.getByRole("log").evaluate((log) => (log.scrollTop -= 300));
    await person.page.waitForTimeout(50);
  }
}

/** @type {import("../run.mjs").Scenario[]} */
export const replies = [
  [
    "A reply by button or key shows its original, which it leads to, survives a reload, and sees edits and the deletion",
    async ({ ann, ben, base, password, channel, run, screenshot }) => {
      const api = await apiOf(base.href, ann.name, password);
      const { id } = /** @type {any} */ ((await api.channels()).find((each) => each.name === channel));
      await Promise.all([ann.openChannel(channel), ben.openChannel(channel)]);
      const question = `Who has time, ${run}?`;
      await ann.send(question);
      await ben.waitForMessages(question);
      await tool(ben, question, "Reply");
      const line = ben.page.locator(".reply-line");
      await line.getByText(question).waitFor();
      // Escape cancels it, and R on the message begins it again.
      await ben.page.keyboard.press("Escape");
      await line.waitFor({ state: "detached" });
      await row(ben, question).focus();
      await ben.page.keyboard.press("r");
      await line.waitFor();
      await ben.page.locator(".composer textarea").pressSequentially("I do");
      await screenshot(ben, "replying");
      await ben.page.reload();
      await line.getByText(question).waitFor();
      assert.equal(await ben.page.locator(".composer textarea").inputValue(), "I do");
      // Enter sends nothing until the channel has loaded.
      await ben.page.locator(".send:enabled").waitFor();
      await ben.page.locator(".composer textarea").press("Enter");
      await line.waitFor({ state: "detached" });
      for (const person of [ann, ben]) await row(person, "I do").getByRole("button", { name: `Reply to ${ann.name} ${question}` }).waitFor();

      for (let number = 1; number <= 40; number++) await api.post(id, `Between ${number} ${run}`);
      await ben.waitForMessages(`Between 40 ${run}`);
      await ben.send(`/ ${run}`);
      await tool(ben, `/ ${run}`, "Reply");
      await ben.page.keyboard.press("Escape");
      await row(ben, "I do").waitFor({ state: "detached" });
      await scrollUpTo(ben, "I do");
      await row(ben, "I do").locator(".quoted").click();
      await ben.page.waitForFunction(() => document.activeElement?.matches(".message.aimed"));
      assert.match((await ben.page.evaluate(() => document.activeElement?.textContent)) ?? "", new RegExp(question.replace("?", "\\?")));
      await screenshot(ben, "reply");

      await tool(ann, `Between 40 ${run}`, "Reply");
      await ann.page.keyboard.press("Escape");
      await scrollUpTo(ann, question);
      await tool(ann, question, "Edit message");
      await ann.page.getByRole("textbox", { name: "Edit message" }).fill(`Changed ${run}`);
      await ann.page.keyboard.press("Enter");
      await row(ben, "I do").locator(".quoted", { hasText: `Changed ${run}` }).waitFor();
      await tool(ann, `Changed ${run}`, "Delete message");
      await ann.page.getByRole("dialog").getByRole("button", { name: "Delete" }).click();
      await row(ben, "I do").getByText("The original message was deleted.").waitFor();
    },
  ],
  [
    "Reactions are shown at once and live, with names, are toggled, and are taken back when the server refuses them",
    async ({ ann, ben, channel, run, screenshot }) => {
      await Promise.all([ann.openChannel(channel), ben.openChannel(channel)]);
      for (const { page } of [ann, ben]) await page.locator(".composer textarea").press("Escape");
      const text = `React to this, ${run}`;
      await ann.send(text);
      await ben.waitForMessages(text);
      await tool(ben, text, "Add a reaction");
      const picker = ben.page.getByRole("dialog", { name: "Choose an emoji" });
      await picker.getByRole("searchbox", { name: "Search emoji" }).fill("엄지");
      await picker.getByRole("button", { name: "thumbs up", exact: true }).waitFor();
      await screenshot(ben, "emoji-picker");
      await picker.getByRole("button", { name: "thumbs up", exact: true }).click();
      for (const person of [ann, ben]) await until(() => reactions(person, text), "👍1");
      await row(ann, text).getByRole("button", { name: `👍 1: ${ben.name}`, pressed: false }).click();
      for (const person of [ann, ben]) await until(() => reactions(person, text), "👍2");
      const mine = row(ann, text).getByRole("button", { name: `👍 2: you and ${ben.name}`, pressed: true });
      await mine.waitFor();
      // The keyboard: search, arrows, Enter; the one used last comes first.
      await row(ann, text).locator(".reaction.more").click();
      const annsPicker = ann.page.getByRole("dialog", { name: "Choose an emoji" });
      await annsPicker.getByRole("searchbox").pressSequentially("party pop");
      await ann.page.keyboard.press("ArrowDown");
      await ann.page.keyboard.press("Enter");
      for (const person of [ann, ben]) await until(() => reactions(person, text), "👍2 🎉1");
      await mine.click();
      for (const person of [ann, ben]) await until(() => reactions(person, text), "👍1 🎉1");
      await row(ann, text).locator(".reaction.more").click();
      assert.equal(await annsPicker.getByRole("tabpanel", { name: "Used recently" }).getByRole("button").first().textContent(), "🎉");
      await screenshot(ann, "emoji-recent");
      await ann.page.keyboard.press("Escape");
      await screenshot(ann, "reactions");

      const body = JSON.stringify({ code: "TOO_MANY_REACTIONS", message: "There are too many.", details: {}, status: 409 });
      await ben.page.route("**/reactions/*", (route) => route.fulfill({ status: 409, contentType: "application/json", body }));
      await row(ben, text).locator(".reaction", { hasText: "👍" }).click();
      await ben.page.getByText("There are too many.").waitFor();
      await until(() => reactions(ben, text), "👍1 🎉1");
      await ben.page.unroute("**/reactions/*");
      await ben.page.reload();
      await ben.waitForMessages(text);
      await until(() => reactions(ben, text), "👍1 🎉1");

      await ben.page.getByRole("button", { name: "Insert an emoji" }).click();
      await picker.getByRole("tab", { name: "Food and drink" }).click();
      await picker.getByRole("button", { name: "pizza" }).click();
      assert.equal(await ben.page.locator(".composer textarea").inputValue(), "🍕");
      assert.ok(await ben.page.locator(".composer textarea").evaluate((area) => area === document.activeElement));
      await ben.page.keyboard.press("Enter");
      await ann.waitForMessages("🍕");
    },
  ],
  [
    "A name is completed after the sign, the mention is marked for both, and Escape keeps the text",
    async ({ ann, ben, channel, base, password, run, screenshot }) => {
      await Promise.all([ann.openChannel(channel), ben.openChannel(channel)]);
      const box = ann.page.locator(".composer textarea");
      await box.pressSequentially(`Hello @${ben.name.slice(0, 5).toUpperCase()}`);
      const list = ann.page.getByRole("listbox", { name: "People to mention" });
      await list.getByRole("option", { name: ben.name }).waitFor();
      await screenshot(ann, "mention-list");
      const active = await box.getAttribute("aria-activedescendant");
      assert.equal(await ann.page.locator(`[id="${active}"]`).getAttribute("aria-selected"), "true");
      await ann.page.keyboard.press("Escape");
      await list.waitFor({ state: "detached" });
      await box.pressSequentially(ben.name.slice(5, -1));
      await list.getByRole("option", { name: ben.name }).waitFor();
      await ann.page.keyboard.press("ArrowDown");
      await ann.page.keyboard.press("ArrowUp");
      await ann.page.keyboard.press("Enter");
      assert.equal(await box.inputValue(), `Hello @${ben.name} `);
      await box.pressSequentially(`and \`@${ben.name}\`, ${run}`);
      await ann.page.keyboard.press("Enter");
      const text = `Hello @${ben.name} and @${ben.name}, ${run}`;
      await row(ben, text).locator(".mention.own").waitFor();
      assert.equal(await row(ben, text).locator(".mention").count(), 1, "not in code");
      assert.ok(await row(ben, text).evaluate((element) => element.matches(".to-me")));
      await row(ann, text).locator(".mention:not(.own)").waitFor();
      await screenshot(ben, "mention");
      // A name that was typed to its end needs no second Enter.
      await box.pressSequentially(`Again, @${ben.name}`);
      await list.waitFor();
      await ann.page.keyboard.press("Enter");
      await row(ben, `Again, @${ben.name}`).locator(".mention.own").waitFor();
      const api = await apiOf(base.href, ben.name, password);
      const [found] = (await api.notifications()).filter((each) => each.reason === "MENTION" && each.content.includes(run));
      assert.equal(found, undefined, "the reader has seen it");
      assert.deepEqual(ann.errors.concat(ben.errors), []);
    },
  ],
];
