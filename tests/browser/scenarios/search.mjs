// Search, addresses of messages, and dates.
import assert from "node:assert/strict";
import { apiOf } from "../api.mjs";

/** @typedef {import("../browser.mjs").Person} Person */

/** @param {Person} person */
const panel = (person) => person.page.getByRole("complementary", { name: "Search" });

/** The texts of the results. @param {Person} person */
const results = (person) => panel(person).locator(".result .excerpt").allInnerTexts();

/** Searches until these results are shown: the index follows the messages. @param {Person} person @param {string[]} expected */
async function find(person, expected) {
  let last;
  for (let tries = 0; tries < 20; tries++) {
    await panel(person).getByRole("button", { name: "Search", exact: true }).click();
    await panel(person).locator('.results[aria-busy="false"]').waitFor();
    last = await results(person);
    if (JSON.stringify(last) === JSON.stringify(expected)) return;
    await person.page.waitForTimeout(500);
  }
  assert.deepEqual(last, expected);
}

/** Waits until the focus is in the row of a message, and that row is in view. @param {Person} person @param {string} text */
async function arrived(person, text) {
  await person.page.waitForFunction(
    (wanted) => document.activeElement?.matches(".message.aimed") && document.activeElement.textContent?.includes(wanted),
    text,
  );
  await person.page.waitForTimeout(300);
  const box = await person.message(text).first().boundingBox();
  const height = person.page.viewportSize()?.height ?? 0;
  assert.ok(box && box.y > 60 && box.y < height - 100, JSON.stringify(box));
}

/** @type {import("../run.mjs").Scenario[]} */
export const search = [
  [
    "Search finds messages in the channel and everywhere, narrows them, and leads to one far up, which can be left again",
    async ({ ann, ben, admin, base, password, adminPassword, channel, run, screenshot }) => {
      const name = `found-${run}`;
      const adminApi = await apiOf(base.href, admin.name, adminPassword);
      const { id } = await adminApi.createChannel(name);
      const api = await apiOf(base.href, ann.name, password);
      await api.post(id, `처음에는 데이터베이스를 옮겼습니다 ${run}`);
      for (let number = 1; number <= 160; number++) await api.post(id, `Filler ${number} ${run}`);
      await api.post(id, `The database ${run}`, undefined, new Blob(["text"], { type: "text/plain" }));
      const bens = await apiOf(base.href, ben.name, password);
      const { id: other } = /** @type {any} */ ((await bens.channels()).find((each) => each.name === channel));
      await bens.post(other, `Another database ${run}`);

      await ben.openChannel(name);
      await ben.page.keyboard.press("Control+f");
      const field = panel(ben).getByRole("searchbox", { name: "Search messages" });
      await field.waitFor();
      await ben.page.waitForFunction(() => document.activeElement?.matches(".search-panel input[type=search]"));
      await ben.page.keyboard.type(`database ${run}`);
      await find(ben, [`The database ${run}`]);
      assert.deepEqual(await panel(ben).locator("mark").allInnerTexts(), ["database", run]);
      await panel(ben).getByLabel("In", { exact: true }).selectOption("");
      await find(ben, [`Another database ${run}`, `The database ${run}`]);
      await screenshot(ben, "search");
      await panel(ben).getByLabel("With", { exact: true }).selectOption("file");
      await find(ben, [`The database ${run}`]);
      await panel(ben).getByLabel("With", { exact: true }).selectOption("");
      await panel(ben).getByLabel("From", { exact: true }).fill(ben.name);
      await find(ben, [`Another database ${run}`]);
      await panel(ben).getByLabel("From", { exact: true }).fill("nobody at all");
      await panel(ben).getByRole("button", { name: "Search", exact: true }).click();
      await panel(ben).getByText("Nobody here has this name.").waitFor();
      await panel(ben).getByLabel("From", { exact: true }).fill("");
      await panel(ben).getByLabel("Until", { exact: true }).fill("2020-01-01");
      await panel(ben).getByText("No messages found.").waitFor();
      await panel(ben).getByLabel("Until", { exact: true }).fill("");
      // Pages.
      await field.fill(`"${run}" filler`);
      await panel(ben).getByRole("button", { name: "Search", exact: true }).click();
      await panel(ben).locator(".result").nth(24).waitFor();
      await panel(ben).getByRole("button", { name: "Show more" }).click();
      await panel(ben).locator(".result").nth(49).waitFor();

      await field.fill(`이터베 ${run}`);
      await find(ben, [`처음에는 데이터베이스를 옮겼습니다 ${run}`]);
      await panel(ben).locator(".result").click();
      await arrived(ben, "데이터베이스");
      await screenshot(ben, "search-jump");
      // A reload stays there, and the button leads to the present.
      const address = ben.page.url();
      assert.match(address, /\/1$/);
      await ben.page.reload();
      await arrived(ben, "데이터베이스");
      await ben.page.getByRole("button", { name: "Jump to the newest" }).click();
      await ben.waitForMessages(`The database ${run}`);
      await api.post(id, `Present ${run}`);
      await ben.waitForMessages(`Present ${run}`);
      assert.ok(!ben.page.url().endsWith("/1"));
      // The link works in another browser, and there again.
      await ann.page.goto(`${ann.url}/${new URL(address).hash}`);
      await arrived(ann, "데이터베이스");
      assert.deepEqual(ann.errors.concat(ben.errors), []);
    },
  ],
  [
    "A link to a deleted message says so, an unreachable server too, and Escape closes the search",
    async ({ ann, ben, base, password, run }) => {
      const name = `found-${run}`;
      const api = await apiOf(base.href, ann.name, password);
      const { id } = /** @type {any} */ ((await api.channels()).find((each) => each.name === name));
      const message = await api.post(id, `To be deleted ${run}`);
      await ben.waitForMessages(`To be deleted ${run}`);
      await api.deleteMessage(message.id);
      await ben.message(`To be deleted ${run}`).waitFor({ state: "detached" });
      await ben.page.goto(`${ben.url}/#/channels/${id}/${message.seq}`);
      await ben.page.getByText("This message was deleted.").waitFor();
      await ben.page.getByRole("button", { name: "Search messages" }).click();
      const field = panel(ben).getByRole("searchbox", { name: "Search messages" });
      await ben.page.route("**/api/messages/search*", (route) => route.abort());
      await field.fill("anything");
      await ben.page.keyboard.press("Enter");
      await panel(ben).getByRole("alert").getByText("The server cannot be reached.").waitFor();
      await ben.page.unroute("**/api/messages/search*");
      await ben.page.keyboard.press("Escape");
      await panel(ben).waitFor({ state: "detached" });
      assert.ok(await ben.page.locator(".composer textarea").evaluate((area) => area === document.activeElement));
    },
  ],
  [
    "A date leads to the first message of the day, in both themes and on a phone",
    async ({ ben, base, password, newPerson, run, screenshot }) => {
      const name = `found-${run}`;
      await ben.openChannel(name);
      await (await ben.channelOption("Jump to a date")).click();
      const dialog = ben.page.getByRole("dialog", { name: "Jump to a date" });
      await dialog.getByLabel("Date").waitFor();
      await dialog.getByRole("button", { name: "Jump", exact: true }).click();
      await arrived(ben, "데이터베이스");

      const phone = await newPerson("phone", {
        url: ben.url,
        colorScheme: "light",
      });
      await phone.signUp(password);
      await phone.page.setViewportSize({ width: 360, height: 740 });
      const api = await apiOf(base.href, ben.name, password);
      const { id } = /** @type {any} */ ((await api.channels()).find((each) => each.name === name));
      await phone.page.goto(`${phone.url}/#/channels/${id}`);
      await phone.waitForMessages(`Present ${run}`);
      await phone.page.getByRole("button", { name: "Search messages" }).click();
      await panel(phone).getByRole("searchbox").fill(`베이스 ${run}`);
      await find(phone, [`처음에는 데이터베이스를 옮겼습니다 ${run}`]);
      await screenshot(phone, "search-phone");
      await panel(phone).locator(".result").click();
      await arrived(phone, "데이터베이스");
      await screenshot(phone, "search-jump-phone");
      const width = await phone.page.evaluate(() => document.documentElement.scrollWidth);
      assert.equal(width, 360);
      assert.deepEqual(phone.errors, []);
      await phone.close();
    },
  ],
];
