import assert from "node:assert/strict";
import { apiOf } from "../api.mjs";

/** More than two pages of older messages. */
const MANY = 125;

/** @type {import("../run.mjs").Scenario[]} */
export const conversations = [
  [
    "A channel the administrator creates appears in both lists without a reload",
    async ({ ann, ben, admin, adminPassword, channel }) => {
      await admin.signIn(adminPassword);
      await admin.isIn();
      await admin.createChannel(channel, "Where the browser test talks.");
      await Promise.all([ann.channel(channel).waitFor(), ben.channel(channel).waitFor()]);
    },
  ],
  [
    "Somebody without the role is offered no way to create a channel",
    async ({ ann }) => {
      assert.equal(await ann.page.getByRole("button", { name: /create (a )?channel/i }).count(), 0);
    },
  ],
  [
    "A message typed in one browser appears in the other, and the reply comes back, in order and once",
    async ({ ann, ben, channel }) => {
      await Promise.all([ann.enter(channel), ben.enter(channel)]);
      const talk = ["Hello Ben, are you on the other node?", "I am. That was quick.", "Then it works!"];
      await ann.say(talk[0]);
      await ben.sees(talk[0]);
      await ben.say(talk[1]);
      await ann.sees(talk[1]);
      await ann.say(talk[2]);
      await Promise.all([ann.hasRead(talk), ben.hasRead(talk)]);
      await ann.everythingSent();
      await ben.everythingSent();
    },
  ],
  [
    "Messages typed by both at the same time stand in the same order for both",
    async ({ ann, ben }) => {
      const from = (/** @type {string} */ name) => Array.from({ length: 6 }, (_, index) => `${name} counts ${index}`);
      const [anns, bens] = [from("Ann"), from("Ben")];
      const sayAll = async (/** @type {typeof ann} */ who, /** @type {string[]} */ texts) => {
        for (const text of texts) await who.say(text);
      };
      await Promise.all([sayAll(ann, anns), sayAll(ben, bens)]);
      await Promise.all([ann.hasRead(anns), ann.hasRead(bens), ben.hasRead(anns), ben.hasRead(bens)]);
      await Promise.all([ann.everythingSent(), ben.everythingSent()]);
      assert.deepEqual(await ann.read(), await ben.read());
    },
  ],
  [
    "Several lines, Korean, Japanese, Chinese, emoji and markup arrive as they were written",
    async ({ ann, ben }) => {
      const texts = ["첫 번째 줄\n두 번째 줄 🎉\n第三行、日本語も", "👍🏽🔥", "<b>not bold</b> & <script>alert(1)</script>"];
      for (const text of texts) await ann.say(text);
      await Promise.all([ben.hasRead(texts), ann.hasRead(texts)]);
      const first = ben.message("첫 번째 줄");
      assert.equal(await first.innerText(), texts[0]);
      assert.equal(await ben.page.locator(".message .text b, .message .text script").count(), 0);
    },
  ],
  [
    "Enter that ends an input method's composition does not send",
    async ({ ann }) => {
      const box = ann.page.locator(".composer textarea");
      await box.fill("한");
      await box.dispatchEvent("keydown", { key: "Enter", keyCode: 229, isComposing: true });
      assert.equal(await box.inputValue(), "한");
      await box.fill("");
    },
  ],
  [
    "An edited message changes and a deleted one goes in the other browser",
    async ({ ann, ben }) => {
      await ann.say("A sentense with a mistake");
      await ben.sees("A sentense with a mistake");
      await ann.everythingSent();
      await ann.page.locator(".composer textarea").press("ArrowUp");
      const editor = ann.page.getByRole("textbox", { name: "Edit message" });
      await editor.fill("A sentence without one");
      await editor.press("Enter");
      await ben.sees("A sentence without one (edited)");
      assert.equal(await ben.message("A sentense").count(), 0);
      const row = ann.page.locator(".message").filter({ hasText: "A sentence without one" });
      await row.hover();
      await row.getByRole("button", { name: "Delete message" }).click();
      await ann.page.getByRole("dialog").getByRole("button", { name: "Delete" }).click();
      await ben.message("A sentence without one").waitFor({ state: "detached" });
      await ann.message("A sentence without one").waitFor({ state: "detached" });
    },
  ],
  [
    "Older pages load on scrolling up, without moving what is being read, down to the first message",
    async ({ ann, ben, base, password, channel }) => {
      const api = await apiOf(base.href, ann.name, password);
      const { id } = /** @type {any} */ ((await api.channels()).find((each) => each.name === channel));
      for (let number = 1; number <= MANY; number++) await api.post(id, `Message number ${number}.`);
      await ben.sees(`Message number ${MANY}.`);
      await ben.page.reload();
      await ben.sees(`Message number ${MANY}.`);
      assert.equal(await ben.page.locator(".message").count(), 50);
      const log = ben.page.getByRole("log");
      // Read at the edge of what is loaded: the row there must stay where it is when the older page comes.
      const row = ben.message(`Message number ${MANY - 48}.`);
      await log.evaluate((box) => (box.scrollTop = 300));
      const before = await row.evaluate((element) => element.getBoundingClientRect().top);
      await ben.page.waitForFunction(() => document.querySelectorAll(".message").length > 50);
      const after = await row.evaluate((element) => element.getBoundingClientRect().top);
      assert.ok(Math.abs(after - before) <= 2, `the row moved from ${before} to ${after}`);
      const first = ben.page.getByRole("heading", { name: `Welcome to #${channel}` });
      for (let tries = 0; tries < 50 && !(await first.isVisible()); tries++) {
        await log.evaluate((box) => (box.scrollTop = 0));
        await ben.page.waitForTimeout(100);
      }
      await ben.hasRead([
        "Hello Ben, are you on the other node?",
        ...Array.from({ length: MANY }, (_, index) => `Message number ${index + 1}.`),
      ]);
    },
  ],
  [
    "A reader further up is not moved by a new message but told of it, and one step brings them down",
    async ({ ann, ben }) => {
      const top = await ben.page.getByRole("log").evaluate((box) => box.scrollTop);
      await ann.say("Are you still up there?");
      const pill = ben.page.getByRole("button", { name: "1 new message" });
      await pill.waitFor();
      assert.equal(await ben.page.getByRole("log").evaluate((box) => box.scrollTop), top);
      await pill.click();
      await pill.waitFor({ state: "detached" });
      await ben.page.waitForFunction(() => {
        const box = /** @type {Element} */ (document.querySelector("[role=log]"));
        return box.scrollHeight - box.scrollTop - box.clientHeight < 2;
      });
    },
  ],
  [
    "A private conversation between two is live for both and invisible to a third",
    async ({ ann, ben, admin, newPerson, password, run }) => {
      const eve = await newPerson("eve");
      await eve.signUp(password);
      await ann.page.getByRole("button", { name: "New private conversation" }).click();
      const dialog = ann.page.getByRole("dialog");
      await dialog.getByLabel("Find people").fill(ben.name);
      await dialog.getByText(ben.name, { exact: true }).click();
      await dialog.getByRole("button", { name: "Start" }).click();
      await ann.page.getByRole("heading", { level: 1, name: ben.name }).waitFor();
      await ben.enter(ann.name);
      const secret = `Between us ${run}`;
      await ann.say(secret);
      await ben.sees(secret);
      await ben.say("Understood.");
      await ann.hasRead([secret, "Understood."]);
      const address = new URL(ann.page.url()).hash;
      await eve.page.reload();
      await eve.isIn();
      for (const other of [eve, admin]) {
        assert.equal(await other.channel(ann.name).count(), 0);
        assert.equal(await other.channel(`${ann.name}, ${ben.name}`).count(), 0);
      }
      await eve.page.goto(`${eve.url}/${address}`);
      await eve.page.waitForTimeout(1_000);
      assert.equal(await eve.message(secret).count(), 0);
      assert.notEqual(new URL(eve.page.url()).hash, address);
    },
  ],
  [
    "Who leaves a private conversation sees it no more, and the other one sees them gone",
    async ({ ann, newPerson, password, run }) => {
      const fay = await newPerson("fay");
      await fay.signUp(password);
      await ann.page.getByRole("button", { name: "New private conversation" }).click();
      const dialog = ann.page.getByRole("dialog");
      await dialog.getByLabel("Find people").fill(fay.name);
      await dialog.getByText(fay.name, { exact: true }).click();
      await dialog.getByRole("button", { name: "Start" }).click();
      await ann.page.getByRole("heading", { level: 1, name: fay.name }).waitFor();
      await fay.enter(ann.name);
      await ann.say(`Stay, ${run}`);
      await fay.sees(`Stay, ${run}`);
      await (await fay.option("Leave conversation")).click();
      await fay.page.getByRole("dialog").getByRole("button", { name: "Leave", exact: true }).click();
      await fay.channel(ann.name).waitFor({ state: "detached" });
      assert.equal(await fay.message(`Stay, ${run}`).count(), 0);
      await ann.channel(fay.name).waitFor({ state: "detached" });
      await ann.sees(`Stay, ${run}`);
    },
  ],
  [
    "A channel is renamed and deleted under its reader, who loses neither the connection nor other channels",
    async ({ ann, admin, channel, run }) => {
      const [before, after] = [`brief-${run}`, `briefer-${run}`];
      await admin.createChannel(before);
      const dialog = admin.page.getByRole("dialog");
      await ann.enter(channel);
      await ann.enter(before);
      await (await admin.option("Edit channel")).click();
      await dialog.getByLabel("Name").fill(after);
      await dialog.getByRole("button", { name: "Save" }).click();
      await ann.page.getByRole("heading", { level: 1, name: after }).waitFor();
      let sockets = 0;
      ann.page.on("websocket", () => sockets++);
      await (await admin.option("Edit channel")).click();
      await dialog.getByRole("button", { name: "Delete channel" }).click();
      await dialog.getByRole("button", { name: "Delete", exact: true }).click();
      await ann.channel(after).waitFor({ state: "detached" });
      await ann.enter(channel);
      await ann.say("Still here.");
      await ann.sees("Still here.");
      await ann.everythingSent();
      assert.equal(sockets, 0, "the connection was made anew");
    },
  ],
];
