// The list of messages: the reader's place, and the keyboard.
import assert from "node:assert/strict";
import { apiOf } from "../api.mjs";

/** @param {import("../browser.mjs").Person} person */
const log = (person) => person.page.getByRole("log");

/** Distances of the rows in view from the top of the window. @param {import("../browser.mjs").Person} person */
const places = (person) =>
  person.page.evaluate(() =>
    Object.fromEntries(
      [...document.querySelectorAll(".message .text")]
        .filter((each) => each.checkVisibility() && each.getBoundingClientRect().top > 0 && each.getBoundingClientRect().bottom < innerHeight)
        .map((each) => [each.textContent, Math.round(each.getBoundingClientRect().top)]),
    ),
  );

/** @param {import("../browser.mjs").Person} person @returns {Promise<string>} the focused element, in words */
const focused = (person) =>
  person.page.evaluate(() => {
    const element = /** @type {HTMLElement} */ (document.activeElement);
    if (element.matches(".message")) return `row: ${element.querySelector(".text")?.textContent}`;
    if (element.matches(".composer textarea")) return "composer";
    return element.getAttribute("aria-label") ?? element.textContent?.trim() ?? element.tagName;
  });

/** @type {import("../run.mjs").Scenario[]} */
export const history = [
  [
    "A reader who opens another channel and returns finds the same rows in the same place",
    async ({ ann, ben, admin, base, channel, run, password }) => {
      const other = `elsewhere-${run}`;
      await admin.createChannel(other);
      await ann.openChannel(channel);
      await log(ann).evaluate((box) => (box.scrollTop = box.scrollHeight / 2));
      await ann.page.waitForTimeout(300);
      const before = await places(ann);
      assert.ok(Object.keys(before).length > 3, JSON.stringify(before));
      await ann.openChannel(other);
      const api = await apiOf(base.href, ben.name, password);
      const { id } = /** @type {any} */ ((await api.channels()).find((each) => each.name === channel));
      await api.post(id, "While you were away");
      await ann.openChannel(channel);
      await ann.page.getByRole("button", { name: "1 new message" }).waitFor();
      const after = await places(ann);
      const moved = Object.entries(before).filter(([text, top]) => Math.abs((after[text] ?? Infinity) - top) > 2);
      assert.deepEqual(moved, [], JSON.stringify({ before, after }));
      await ann.send("Here I am.");
      await ann.waitForMessages("While you were away", "Here I am.");
      await ann.page.getByRole("button", { name: /newest|new message/ }).waitFor({ state: "detached" });
    },
  ],
  [
    "The message box is one key from the first Tab stop, and two stops from the list",
    async ({ ann, channel }) => {
      await ann.openChannel(channel);
      // As after loading the page.
      await ann.page.evaluate(() => {
        const first = document.createElement("button");
        document.body.prepend(first);
        first.focus();
        first.remove();
      });
      await ann.page.keyboard.press("Tab");
      assert.equal(await focused(ann), "Skip to the message box");
      await ann.page.keyboard.press("Enter");
      assert.equal(await focused(ann), "composer");
      await log(ann).focus();
      await ann.page.keyboard.press("Tab");
      await ann.page.keyboard.press("Tab");
      assert.equal(await focused(ann), "composer");
    },
  ],
  [
    "Arrows move between messages, E edits and Delete deletes one, and the focus stays in the list",
    async ({ ann, channel, run }) => {
      const { keyboard } = ann.page;
      await ann.openChannel(channel);
      const texts = [1, 2, 3].map((number) => `Key ${number} ${run}`);
      for (const text of texts) await ann.send(text);
      await ann.waitForMessages(...texts);
      await ann.waitUntilSent();
      await log(ann).focus();
      await keyboard.press("ArrowUp");
      assert.equal(await focused(ann), `row: ${texts[2]}`);
      await keyboard.press("ArrowUp");
      assert.equal(await focused(ann), `row: ${texts[1]}`);

      await keyboard.press("e");
      const editor = ann.page.getByRole("textbox", { name: "Edit message" });
      await editor.waitFor();
      await keyboard.press("Escape");
      await editor.waitFor({ state: "detached" });
      assert.equal(await focused(ann), `row: ${texts[1]}`);
      await keyboard.press("e");
      await editor.fill(`${texts[1]} changed`);
      await keyboard.press("Enter");
      await editor.waitFor({ state: "detached" });
      assert.match(await focused(ann), new RegExp(`^row: ${texts[1]} changed`));

      await keyboard.press("Delete");
      await ann.page.getByRole("dialog").waitFor();
      await keyboard.press("Enter");
      await ann.message(texts[1]).waitFor({ state: "detached" });
      assert.equal(await focused(ann), `row: ${texts[2]}`);
      await keyboard.press("Escape");
      assert.equal(await focused(ann), "composer");

      // An edit that began in the composer ends there.
      await keyboard.press("ArrowUp");
      await editor.waitFor();
      await keyboard.press("Escape");
      await editor.waitFor({ state: "detached" });
      assert.equal(await focused(ann), "composer");
    },
  ],
  [
    "Each row says its author and time, also inside a run, and new messages are announced",
    async ({ ann, ben, channel, run }) => {
      await Promise.all([ann.openChannel(channel), ben.openChannel(channel)]);
      for (const number of [1, 2]) await ann.send(`Row ${number} ${run}`);
      await ben.waitForMessages(`Row 2 ${run}`);
      const row = ben.page.getByRole("article", { name: new RegExp(`^${ann.name} \\d`) }).filter({ hasText: `Row 2 ${run}` });
      assert.equal(await row.locator("header").count(), 0);
      await row.waitFor();
      await ben.page.getByRole("status").filter({ hasText: `${ann.name}: Row 2 ${run}` }).waitFor({ state: "attached" });
    },
  ],
];
