// The app without a mouse, and by touch.
import assert from "node:assert/strict";

/** @param {import("playwright-core").Page} page */
const focused = (page) => page.evaluate(() => document.activeElement?.closest("[class]")?.className ?? document.activeElement?.tagName);

/** @type {import("../run.mjs").Scenario[]} */
export const keyboard = [
  [
    "Ctrl+K goes to a channel by a part of its name, and to a person without a conversation",
    async ({ ann, admin, channel, run }) => {
      const { page } = ann;
      const other = `switch-${run}`;
      await admin.createChannel(other);
      await ann.channel(other).waitFor();
      await ann.openChannel(channel);
      await page.keyboard.press("Control+k");
      const box = page.getByRole("combobox");
      await box.waitFor();
      await page.keyboard.type(`TCH-${run}`);
      await page.getByRole("option", { name: other, selected: true }).waitFor();
      await page.keyboard.press("Enter");
      await page.getByRole("heading", { level: 1, name: other, exact: true }).waitFor();
      await page.locator(".composer textarea:focus").waitFor();

      await page.keyboard.press("Control+k");
      await box.fill("nothing has this name");
      await page.getByText("Nothing has such a name.").waitFor();
      await page.keyboard.press("Enter");
      await box.fill("-" + run);
      const options = page.getByRole("option");
      await options.nth(1).waitFor();
      await page.keyboard.press("ArrowUp");
      assert.equal(await options.last().getAttribute("aria-selected"), "true");
      await page.keyboard.press("Escape");
      await page.locator(".composer textarea:focus").waitFor();
    },
  ],
  [
    "The composer is within three Tab stops, and the focus never falls to the page",
    async ({ ann, channel }) => {
      const { page } = ann;
      await ann.openChannel(channel);
      await page.reload();
      await ann.waitUntilSignedIn();
      await page.getByRole("log").waitFor();
      // From the top of the page.
      await page.evaluate(() => {
        document.body.tabIndex = -1;
        document.body.focus();
      });
      await page.keyboard.press("Tab");
      await page.keyboard.press("Enter");
      await page.locator(".composer textarea:focus").waitFor();
      for (const name of ["Settings", "Channel options"]) {
        await page.getByRole("button", { name }).focus();
        await page.keyboard.press("Enter");
        await page.getByRole("dialog").waitFor();
        await page.keyboard.press("Escape");
        await page.getByRole("dialog").waitFor({ state: "hidden" });
        assert.notEqual(await focused(page), "BODY", name);
      }
    },
  ],
  [
    "In a conversation that fits into the view, an arrow goes to the newest message, and no message counts as above",
    async ({ ann, ben, admin, channel, run }) => {
      const { page } = ann;
      const short = `fits-${run}`;
      await admin.createChannel(short);
      await ann.openChannel(channel);
      await ben.openChannel(short);
      for (const number of [1, 2, 3]) await ben.send(`Short ${number} ${run}`);
      await ben.waitUntilSent();
      await ann.openChannel(short);
      await page.getByRole("separator").filter({ hasText: "New messages" }).waitFor();
      await ann.waitForMessages(`Short 3 ${run}`);
      await page.getByRole("log").focus();
      await page.keyboard.press("ArrowUp");
      await page.locator("article:focus", { hasText: `Short 3 ${run}` }).waitFor();
      await page.keyboard.press("ArrowUp");
      await page.locator("article:focus", { hasText: `Short 2 ${run}` }).waitFor();
      assert.equal(await page.locator(".news-bar").count(), 0);
    },
  ],
  [
    "On a phone, Enter begins a line, the button sends, and everything to press is 44 px high",
    async ({ newPerson, password, channel }) => {
      const person = await newPerson("touch", { hasTouch: true, isMobile: true });
      const { page } = person;
      await person.signUp(password);
      await page.setViewportSize({ width: 360, height: 780 });
      await page.getByRole("button", { name: "Show channels" }).tap();
      await person.channel(channel).tap();
      const box = page.locator(".composer textarea");
      await box.fill("one");
      await box.press("Enter");
      await box.pressSequentially("two");
      assert.equal(await box.inputValue(), "one\ntwo");
      await page.getByRole("button", { name: "Send" }).tap();
      await person.waitForMessages("one\ntwo");
      await page.getByRole("button", { name: "Show channels" }).tap();
      const small = await page.evaluate(() =>
        // Links in the lines of a text have the height of their line.
        [...document.querySelectorAll("button, a[href]:not(.text a), select, input:not([type=file])")]
          .filter((each) => /** @type {HTMLElement} */ (each).checkVisibility({ visibilityProperty: true, opacityProperty: true }))
          .map((each) => ({ name: each.className || each.textContent, ...each.getBoundingClientRect().toJSON() }))
          .filter(({ name, height, width }) => !/^skip/.test(name) && height > 0 && (height < 44 || width < 44)),
      );
      assert.deepEqual(small, []);
      await person.close();
    },
  ],
];
