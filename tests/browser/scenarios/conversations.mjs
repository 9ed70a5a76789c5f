import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { apiOf, signUp } from "../api.mjs";

/** More than two pages of older messages. */
const MANY = 125;

/** @type {import("../run.mjs").Scenario[]} */
export const conversations = [
  [
    "A channel that the administrator creates appears in both lists without a reload",
    async ({ ann, ben, admin, adminPassword, channel }) => {
      await admin.signIn(adminPassword);
      await admin.waitUntilSignedIn();
      await admin.createChannel(channel, "The channel of the browser tests.");
      await Promise.all([ann.channel(channel).waitFor(), ben.channel(channel).waitFor()]);
    },
  ],
  [
    "A user without the role has no button to create a channel",
    async ({ ann }) => {
      assert.equal(await ann.page.getByRole("button", { name: /create (a )?channel/i }).count(), 0);
    },
  ],
  [
    "A message appears in the other browser, and so does the reply, in order and once",
    async ({ ann, ben, channel }) => {
      await Promise.all([ann.openChannel(channel), ben.openChannel(channel)]);
      const messages = ["Hello Ben, are you on the other node?", "I am. That was quick.", "Then it works!"];
      await ann.send(messages[0]);
      await ben.waitForMessages(messages[0]);
      await ben.send(messages[1]);
      await ann.waitForMessages(messages[1]);
      await ann.send(messages[2]);
      await Promise.all([ann.assertMessages(messages), ben.assertMessages(messages)]);
      await ann.waitUntilSent();
      await ben.waitUntilSent();
    },
  ],
  [
    "Messages sent by both at the same time have the same order for both",
    async ({ ann, ben }) => {
      const from = (/** @type {string} */ name) => Array.from({ length: 6 }, (_, index) => `${name} counts ${index}`);
      const [anns, bens] = [from("Ann"), from("Ben")];
      const sendAll = async (/** @type {typeof ann} */ person, /** @type {string[]} */ texts) => {
        for (const text of texts) await person.send(text);
      };
      await Promise.all([sendAll(ann, anns), sendAll(ben, bens)]);
      await Promise.all([ann.assertMessages(anns), ann.assertMessages(bens), ben.assertMessages(anns), ben.assertMessages(bens)]);
      await Promise.all([ann.waitUntilSent(), ben.waitUntilSent()]);
      assert.deepEqual(await ann.messageTexts(), await ben.messageTexts());
    },
  ],
  [
    "Several lines, Korean, Japanese, Chinese, emoji and markup arrive unchanged",
    async ({ ann, ben }) => {
      const texts = ["첫 번째 줄\n두 번째 줄 🎉\n第三行、日本語も", "👍🏽🔥", "<b>not bold</b> & <script>alert(1)</script>"];
      for (const text of texts) await ann.send(text);
      await Promise.all([ben.assertMessages(texts), ann.assertMessages(texts)]);
      const first = ben.message("첫 번째 줄");
      assert.equal(await first.innerText(), texts[0]);
      assert.equal(await ben.page.locator(".message .text b, .message .text script").count(), 0);
    },
  ],
  [
    "The Enter that ends an input method's composition does not send",
    async ({ ann }) => {
      const box = ann.page.locator(".composer textarea");
      await box.fill("한");
      await box.dispatchEvent("keydown", { key: "Enter", keyCode: 229, isComposing: true });
      assert.equal(await box.inputValue(), "한");
      await box.fill("");
    },
  ],
  [
    "A text that is too long says so, and can be sent as a file",
    async ({ ann, ben, channel, run }) => {
      await ann.openChannel(channel);
      await ben.openChannel(channel);
      const box = ann.page.locator(".composer textarea");
      const long = `${run} `.repeat(400).trim();
      await box.fill(long);
      await box.press("Enter");
      await ann.page.getByRole("alert").getByText("The message is too long: it can have 2,000 characters at most.").waitFor();
      assert.equal(await box.inputValue(), long);
      await ann.page.getByRole("button", { name: "Attach it as a file" }).click();
      await ann.page.getByRole("list", { name: "Files to send" }).getByText("message.txt").waitFor();
      assert.equal(await box.inputValue(), "");
      assert.equal(await box.evaluate((element) => element === document.activeElement), true);
      await box.press("Enter");
      const [download] = await Promise.all([
        ben.page.waitForEvent("download"),
        ben.page.getByRole("link", { name: /Download message.txt/ }).click(),
      ]);
      assert.equal(await readFile(await download.path(), "utf8"), long);
    },
  ],
  [
    "A conversation whose other person is gone, and an empty channel with a description, say so in whole sentences",
    async ({ ann, admin, base, adminPassword, password, channel, run }) => {
      const [own, root, gone] = [
        await apiOf(base.href, ann.name, password),
        await apiOf(base.href, admin.name, adminPassword),
        await signUp(base.href, `gone-${run}`, password),
      ];
      const { id } = await own.createPrivate([own.user.id, gone.user.id]);
      await ann.openChannel(`gone-${run}`);
      await ann.page.getByText(`Only you and gone-${run} can read this conversation.`).waitFor();
      await root.deleteUser(gone.user.id);
      await ann.page.getByText("Nobody else is in this conversation: the others have left").waitFor();
      await ann.page.getByPlaceholder("Message to yourself: nobody else is here").waitFor();
      const described = await root.createChannel(`empty-${run}`);
      await root.describeChannel(described.id, "What happens");
      await ann.openChannel(`empty-${run}`);
      const sentences = ann.page.locator(".beginning p");
      assert.deepEqual(await sentences.allInnerTexts(), ["What happens", "No messages yet: write the first one."]);
      await root.deleteChannel(described.id);
      await own.leave(id);
      await ann.openChannel(channel);
    },
  ],
  [
    "Edits and deletions appear in the other browser",
    async ({ ann, ben }) => {
      await ann.send("A sentense with a mistake");
      await ben.waitForMessages("A sentense with a mistake");
      await ann.waitUntilSent();
      await ann.page.locator(".composer textarea").press("ArrowUp");
      const editor = ann.page.getByRole("textbox", { name: "Edit message" });
      await editor.fill("A sentence without one");
      await editor.press("Enter");
      await ben.waitForMessages("A sentence without one (edited)");
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
    "Older pages load on scrolling up to the first message, without moving the visible rows",
    async ({ ann, ben, base, password, channel }) => {
      const api = await apiOf(base.href, ann.name, password);
      const { id } = /** @type {any} */ ((await api.channels()).find((each) => each.name === channel));
      for (let number = 1; number <= MANY; number++) await api.post(id, `Message number ${number}.`);
      await ben.waitForMessages(`Message number ${MANY}.`);
      // Holds the older page back until the position of a row is known.
      /** @type {() => void} */
      let release = () => {};
      const held = new Promise((done) => (release = () => done(undefined)));
      await ben.page.route("**/api/messages?*cursor=*", (route) => void held.then(() => route.continue()));
      await ben.page.reload();
      await ben.waitForMessages(`Message number ${MANY}.`);
      const log = ben.page.getByRole("log");
      const row = ben.message(`Message number ${MANY - 44}.`);
      await log.evaluate((box) => (box.scrollTop = 40));
      await row.waitFor();
      const before = await row.evaluate((element) => element.getBoundingClientRect().top);
      release();
      await ben.page.waitForFunction(() => Number(document.querySelector("[role=log]")?.scrollTop) > 600);
      const after = await row.evaluate((element) => element.getBoundingClientRect().top);
      assert.ok(Math.abs(after - before) <= 2, `the row moved from ${before} to ${after}`);

      const first = ben.page.getByRole("heading", { name: `Welcome to #${channel}` });
      /** @type {Set<string>} */
      const seen = new Set();
      let most = 0;
      for (let tries = 0; tries < 200 && !(await first.isVisible()); tries++) {
        const texts = await ben.messageTexts();
        most = Math.max(most, texts.length);
        for (const text of texts) seen.add(text);
        await log.evaluate((box) => (box.scrollTop -= 300));
        await ben.page.waitForTimeout(50);
      }
      await ben.waitForMessages("Hello Ben, are you on the other node?");
      for (const text of await ben.messageTexts()) seen.add(text);
      const missing = Array.from({ length: MANY - 20 }, (_, index) => `Message number ${index + 1}.`).filter((text) => !seen.has(text));
      assert.deepEqual(missing, []);
      assert.ok(most < 60, `${most} rows in the document`);
    },
  ],
  [
    "A new message does not move a reader further up, and a button leads to it",
    async ({ ann, ben }) => {
      const top = await ben.page.getByRole("log").evaluate((box) => box.scrollTop);
      await ann.send("Are you still up there?");
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
    "A private conversation is live for both participants and invisible to others",
    async ({ ann, ben, admin, newPerson, password, run }) => {
      const eve = await newPerson("eve");
      await eve.signUp(password);
      await ann.page.getByRole("button", { name: "New private conversation" }).click();
      const dialog = ann.page.getByRole("dialog");
      await dialog.getByLabel("Find people").fill(ben.name);
      await dialog.getByText(ben.name, { exact: true }).click();
      await dialog.getByRole("button", { name: "Start" }).click();
      await ann.page.getByRole("heading", { level: 1, name: ben.name }).waitFor();
      await ben.openChannel(ann.name);
      const secret = `Between us ${run}`;
      await ann.send(secret);
      await ben.waitForMessages(secret);
      await ben.send("Understood.");
      await ann.assertMessages([secret, "Understood."]);
      const address = new URL(ann.page.url()).hash;
      await eve.page.reload();
      await eve.waitUntilSignedIn();
      for (const other of [eve, admin]) {
        assert.equal(await other.channel(ann.name).count(), 0);
        assert.equal(await other.channel(`${ann.name}, ${ben.name}`).count(), 0);
      }
      await eve.page.goto(`${eve.url}/${address}`);
      await eve.page.getByRole("heading", { name: "This conversation is not available" }).waitFor();
      await eve.page.waitForTimeout(1_000);
      assert.equal(await eve.message(secret).count(), 0);
      assert.equal(await eve.page.locator(".composer").count(), 0);
    },
  ],
  [
    "A user who leaves a private conversation loses it, and the other participant sees them leave",
    async ({ ann, newPerson, password, run }) => {
      const fay = await newPerson("fay");
      await fay.signUp(password);
      await ann.page.getByRole("button", { name: "New private conversation" }).click();
      const dialog = ann.page.getByRole("dialog");
      await dialog.getByLabel("Find people").fill(fay.name);
      await dialog.getByText(fay.name, { exact: true }).click();
      await dialog.getByRole("button", { name: "Start" }).click();
      await ann.page.getByRole("heading", { level: 1, name: fay.name }).waitFor();
      await fay.openChannel(ann.name);
      await ann.send(`Stay, ${run}`);
      await fay.waitForMessages(`Stay, ${run}`);
      await (await fay.channelOption("Leave conversation")).click();
      await fay.page.getByRole("dialog").getByRole("button", { name: "Leave", exact: true }).click();
      await fay.channel(ann.name).waitFor({ state: "detached" });
      assert.equal(await fay.message(`Stay, ${run}`).count(), 0);
      await ann.channel(fay.name).waitFor({ state: "detached" });
      await ann.waitForMessages(`Stay, ${run}`);
    },
  ],
  [
    "A reader of a channel that is renamed and deleted keeps the connection and other channels",
    async ({ ann, annsProxy, admin, channel, run }) => {
      const [before, after] = [`brief-${run}`, `briefer-${run}`];
      await admin.createChannel(before);
      const dialog = admin.page.getByRole("dialog");
      await ann.openChannel(channel);
      await ann.openChannel(before);
      await (await admin.channelOption("Edit channel")).click();
      await dialog.getByLabel("Name").fill(after);
      await dialog.getByRole("button", { name: "Save" }).click();
      await ann.page.getByRole("heading", { level: 1, name: after }).waitFor();
      const sockets = annsProxy.opened.websocket;
      await (await admin.channelOption("Edit channel")).click();
      await dialog.getByRole("button", { name: "Delete channel" }).click();
      await dialog.getByRole("button", { name: "Delete", exact: true }).click();
      await ann.channel(after).waitFor({ state: "detached" });
      await ann.openChannel(channel);
      await ann.send("Still here.");
      await ann.waitForMessages("Still here.");
      await ann.waitUntilSent();
      assert.equal(annsProxy.opened.websocket, sockets, "the app reconnected");
    },
  ],
];
