// Formatted messages.
import assert from "node:assert/strict";
import { until } from "../until.mjs";

/** @type {import("../run.mjs").Scenario[]} */
export const markdown = [
  [
    "Markdown is shown formatted to the other user, links end where a person would end them, and markup stays text",
    async ({ ann, ben, channel, run }) => {
      await Promise.all([ann.openChannel(channel), ben.openChannel(channel)]);
      await ann.send(`**bold ${run}** *italic* ~~gone~~ <i>no</i> (https://example.org/a_(b)) www.example.org을`);
      const text = ben.message(`bold ${run}`);
      // The first message that needs the parser loads it.
      await text.locator("strong").waitFor();
      assert.equal(await text.innerText(), `bold ${run} italic gone <i>no</i> (https://example.org/a_(b)) www.example.org을`);
      assert.equal(await text.locator("strong").innerText(), `bold ${run}`);
      assert.deepEqual([await text.locator("em").count(), await text.locator("s").count(), await text.locator("i").count()], [1, 1, 0]);
      const links = await text.locator("a").evaluateAll((all) => all.map((each) => [each.textContent, each.getAttribute("href")]));
      assert.deepEqual(links, [
        ["https://example.org/a_(b)", "https://example.org/a_(b)"],
        ["www.example.org", "https://www.example.org"],
      ]);
      await ann.send(`> quoted ${run}\nanswer\n- one\n- two`);
      const quoted = ben.message(`quoted ${run}`);
      assert.equal(await quoted.locator("blockquote").innerText(), `quoted ${run}`);
      assert.deepEqual(await quoted.locator("li").allInnerTexts(), ["one", "two"]);
    },
  ],
  [
    "A spoiler is hidden until it is opened, by mouse and by key",
    async ({ ann, ben, channel, run }) => {
      await Promise.all([ann.openChannel(channel), ben.openChannel(channel)]);
      for (const number of [1, 2]) await ann.send(`Spoiler ${number} ${run}: ||hidden ${number} https://example.org||`);
      const [first, second] = [1, 2].map((number) => ben.message(`Spoiler ${number} ${run}`));
      const button = { name: "Show the spoiler" };
      assert.equal(await first.locator("a").isVisible(), false);
      await first.getByRole("button", button).click();
      await Promise.all([first.locator("a").waitFor(), second.getByRole("button", button).waitFor()]);
      await ben.page.getByRole("log").focus();
      await ben.page.keyboard.press("ArrowUp");
      await ben.page.keyboard.press("Tab");
      await ben.page.keyboard.press("Enter");
      await second.locator("a").waitFor();
    },
  ],
  [
    "A spoiler is a word in notifications, quotes, announcements, results of the search, and the question before a deletion",
    async ({ ann, ben, channel, run, screenshot }) => {
      const covered = `Who did it, ${run}: [spoiler] or [spoiler]?`;
      await Promise.all([ann.openChannel(ben.name), ben.openChannel(channel)]);
      await ann.send(`Who did it, ${run}: ||the butler|| or ||the cook||?`);
      await ben.page.getByRole("button", { name: "Notifications: 1" }).click();
      const notification = ben.page.getByRole("dialog", { name: "Notifications" }).getByRole("listitem").first();
      await notification.getByText(covered).waitFor();
      await screenshot(ben, "spoiler-notification");
      await notification.getByRole("link").click();

      const row = (/** @type {import("../browser.mjs").Person} */ { page }) => page.locator(".message").filter({ hasText: `Who did it, ${run}` }).first();
      await row(ben).hover();
      await row(ben).getByRole("button", { name: "Reply" }).click();
      await ben.page.locator(".reply-line").getByText(covered).waitFor();
      await ben.send("||The gardener||");
      for (const { page } of [ann, ben]) await page.locator(".message .quoted").getByText(covered).waitFor();
      await ann.page.getByRole("status").filter({ hasText: `${ben.name}: [spoiler]` }).waitFor({ state: "attached" });

      await ben.page.keyboard.press("Control+f");
      const search = ben.page.getByRole("complementary", { name: "Search" });
      await search.getByRole("searchbox", { name: "Search messages" }).fill(`cook ${run}`);
      const found = search.locator(".result .excerpt");
      // The index follows the messages.
      await until(async () => {
        await search.getByRole("button", { name: "Search", exact: true }).click();
        await search.locator('.results[aria-busy="false"]').waitFor();
        return found.count();
      }, 1);
      assert.deepEqual(await found.allInnerTexts(), [covered]);
      assert.deepEqual(await found.locator("mark").allInnerTexts(), [run, "[spoiler]"]);
      await screenshot(ben, "spoiler-search");
      await search.getByRole("button", { name: "Close the search" }).click();

      await row(ann).hover();
      await row(ann).getByRole("button", { name: "Delete message" }).click();
      const question = ann.page.getByRole("dialog", { name: "Delete this message?" });
      assert.equal(await question.locator(".quote").innerText(), covered);
      await question.getByRole("button", { name: "Cancel" }).click();
      assert.deepEqual(ann.errors.concat(ben.errors), []);
    },
  ],
  [
    "Until the parser of messages is there, a spoiler is covered, and can be opened",
    async ({ newPerson, password, ann, admin, run, screenshot }) => {
      const veiled = `veiled-${run}`;
      await admin.createChannel(veiled);
      const person = await newPerson("soon");
      let release = () => {};
      const released = new Promise((resolve) => void (release = () => resolve(null)));
      await person.context.route(/\/markdown-[^/]*\.js$/, async (route) => {
        await released;
        await route.continue();
      });
      await person.signUp(password);
      await person.openChannel(veiled);
      await ann.openChannel(veiled);
      for (const number of [1, 2]) await ann.send(`**Early** ${number} ${run}: ||hidden ${number}||, ||too||`);
      const texts = [1, 2].map((number) => person.message(`Early** ${number} ${run}`));
      const button = { name: "Show the spoiler" };
      await texts[1].getByRole("button", button).waitFor();
      await screenshot(person, "spoiler-without-parser");
      assert.equal(await texts[0].innerText(), `**Early** 1 ${run}: `);
      await texts[0].getByRole("button", button).click();
      assert.equal(await texts[0].innerText(), `**Early** 1 ${run}: hidden 1||, ||too`);
      release();
      const parsed = person.message(`Early 2 ${run}`);
      await parsed.locator("strong").waitFor();
      assert.equal(await parsed.getByRole("button", button).count(), 2);
      assert.equal(await parsed.innerText(), `Early 2 ${run}: , `);
      assert.deepEqual(person.errors, []);
      await person.close();
    },
  ],
  [
    "Code is coloured by a script that is loaded with the first code, and can be copied",
    async ({ newPerson, password, ann, channel, run }) => {
      const person = await newPerson("coder");
      /** @type {string[]} */
      const scripts = [];
      person.context.on("request", (request) => void (/worker-.*\.js/.test(request.url()) && scripts.push(request.url())));
      await person.signUp(password);
      await person.openChannel(channel);
      await ann.openChannel(channel);
      await ann.send(`No code ${run}`);
      await person.waitForMessages(`No code ${run}`);
      assert.deepEqual(scripts, []);
      await ann.send(`\`\`\`js\nconst run = "${run}";\n\`\`\``);
      const block = person.page.locator(".code-block").filter({ hasText: run });
      await block.locator(".hljs-string").waitFor();
      assert.equal(scripts.length, 1);
      assert.equal(await block.locator("code").innerText(), `const run = "${run}";`);
      await person.context.grantPermissions(["clipboard-read"]);
      await block.hover();
      await block.getByRole("button", { name: "Copy" }).click();
      await block.getByRole("button", { name: "Copied" }).waitFor();
      assert.equal(await person.page.evaluate(() => navigator.clipboard.readText()), `const run = "${run}";`);
      assert.deepEqual(person.errors, []);
      await person.close();
    },
  ],
];
