// What the user types for a conversation goes to it or nowhere, when the conversation is lost in the meantime.
import assert from "node:assert/strict";
import { apiOf, signUp } from "../api.mjs";

/** @typedef {import("../browser.mjs").Person} Person */
/** @typedef {import("../run.mjs").Fixture} Fixture */
/** @typedef {Awaited<ReturnType<typeof apiOf>>} Api */

/** Signed in once for all scenarios: password hashing is slow. @type {Map<string, Promise<Api>>} */
const apis = new Map();

/** @param {Fixture} fixture @param {Person} person */
function api({ base, admin, adminPassword, password }, person) {
  const known = apis.get(person.name) ?? apiOf(base.href, person.name, person === admin ? adminPassword : password);
  apis.set(person.name, known);
  return known;
}

/**
 * A new private conversation of these people and the administrator, open in the first one's browser.
 *
 * @param {Fixture} fixture @param {Person} person @param {...Person} others
 */
async function converse(fixture, person, ...others) {
  const users = await Promise.all([fixture.admin, person, ...others].map((each) => api(fixture, each)));
  const { id } = await users[0].createPrivate(users.map(({ user }) => user.id));
  await openById(person, id);
  return { id, admin: users[0], own: users[1] };
}

/** @param {Person} person @param {string} id */
const linkTo = (person, id) => person.page.locator(`.sidebar a[href="#/channels/${id}"]`);

/** @param {Person} person @param {string} id */
async function openById(person, id) {
  await linkTo(person, id).click();
  await person.page.locator(`.sidebar a[href="#/channels/${id}"][aria-current]`).waitFor();
  await person.page.getByRole("log").waitFor();
}

/** @param {Person} person */
const composer = (person) => person.page.locator(".composer textarea");
/** @param {Person} person */
const unsent = (person) => person.page.getByRole("textbox", { name: "Your unsent message" });
/** @param {Person} person @param {string} [name] */
const gone = (person, name = "This conversation is gone") => person.page.getByRole("heading", { name });
/** @param {import("playwright-core").Page} page */
const focused = (page) => page.evaluate(() => document.activeElement?.tagName);

/** Asserts that no channel of the user has a message with this text. @param {Api} own @param {string} text */
async function assertSentNowhere(own, text) {
  for (const { id } of await own.channels()) {
    for (const { content } of await own.messages(id)) assert.ok(!content.includes(text), `sent elsewhere: ${content}`);
  }
}

/** @type {import("../run.mjs").Scenario[]} */
export const lost = [
  [
    "Typing goes on while somebody deletes the conversation: keys and Enter go nowhere, and the draft can be copied",
    async (fixture) => {
      const { ann, ben, run, channel, screenshot } = fixture;
      const { id, admin, own } = await converse(fixture, ann, ben);
      const { page } = ann;
      const secret = `secret-${run}-1`;
      const text = `${secret} is what I want to say to the two of you and to nobody else, since it is private`;
      await composer(ann).click();
      const typing = page.keyboard.type(text, { delay: 40 });
      await page.waitForTimeout(1_200);
      await admin.deleteChannel(id);
      await typing;
      await page.keyboard.press("Enter");
      await page.keyboard.type(`${secret} again`);
      await page.keyboard.press("Enter");
      await page.waitForTimeout(500);
      await assertSentNowhere(own, secret);
      await gone(ann).waitFor();
      assert.equal(await composer(ann).count(), 0, "another composer is open");
      assert.equal(await focused(page), "BODY");
      const kept = await unsent(ann).inputValue();
      assert.ok(kept.startsWith(secret) && text.startsWith(kept), `kept: ${kept}`);
      await screenshot(ann, "lost");
      await ann.context.grantPermissions(["clipboard-read"]);
      await page.getByRole("button", { name: "Copy text" }).click();
      await page.getByRole("button", { name: "Copied" }).waitFor();
      assert.equal(await page.evaluate(() => navigator.clipboard.readText()), kept);

      // The draft stays reachable, and out of the composer of a channel that the user opens.
      await ann.openChannel(channel);
      assert.equal(await composer(ann).inputValue(), "");
      assert.equal(await focused(page), "TEXTAREA", "a channel that the user opens has the focus");
      await linkTo(ann, id).click();
      assert.equal(await unsent(ann).inputValue(), kept);
      await page.getByRole("button", { name: "Discard" }).click();
      await unsent(ann).waitFor({ state: "detached" });
      await linkTo(ann, id).waitFor({ state: "detached" });
    },
  ],
  [
    "A public channel that is deleted while somebody types in it closes, too",
    async (fixture) => {
      const { ann, run } = fixture;
      const [own, admin] = await Promise.all([api(fixture, ann), api(fixture, fixture.admin)]);
      const { id } = await admin.createChannel(`short-${run}`);
      await openById(ann, id);
      const secret = `secret-${run}-2`;
      await composer(ann).fill(secret);
      await admin.deleteChannel(id);
      await linkTo(ann, id).and(ann.page.locator("[aria-current]")).waitFor();
      await gone(ann, "This channel is gone").waitFor();
      await ann.page.keyboard.press("Enter");
      assert.equal(await unsent(ann).inputValue(), secret);
      await assertSentNowhere(own, secret);
    },
  ],
  [
    "A message sent at the moment after the deletion is refused and becomes a draft",
    async (fixture) => {
      const { ann, ben, run } = fixture;
      const { id, admin, own } = await converse(fixture, ann, ben);
      const { page } = ann;
      const [first, second] = [`secret-${run}-3`, `secret-${run}-4`];
      // The app does not know of the deletion yet.
      /** @type {() => void} */
      let release = () => {};
      const released = new Promise((resolve) => (release = () => resolve(undefined)));
      await page.route("**/api/channels?*", async (route) => (await released, route.continue()));
      await composer(ann).fill(first);
      await admin.deleteChannel(id);
      await composer(ann).press("Enter");
      await composer(ann).pressSequentially(second);
      release();
      await gone(ann).waitFor();
      await page.unroute("**/api/channels?*");
      await page.keyboard.press("Enter");
      assert.equal(await unsent(ann).inputValue(), `${first}\n${second}`);
      await assertSentNowhere(own, `secret-${run}`);
    },
  ],
  [
    "Messages and files that wait for the connection become a draft when their author was removed meanwhile",
    async (fixture) => {
      const { ann, ben, bensProxy, run, screenshot } = fixture;
      const { id, admin, own } = await converse(fixture, ben, ann);
      const texts = [1, 2, 3, 4].map((number) => `secret-${run}-5-${number}`);
      await ben.page.locator(".composer").waitFor();
      bensProxy.cut();
      await ben.page.getByText("Reconnecting…").waitFor();
      for (const text of texts.slice(0, 2)) await ben.send(text);
      for (const [index, name] of ["plan.txt", "notes.txt"].entries()) {
        const buffer = Buffer.from(`content of ${name}`);
        await ben.page.locator(".composer input[type=file]").setInputFiles([{ name, mimeType: "text/plain", buffer }]);
        await composer(ben).fill(texts[2 + index]);
        if (index === 0) await composer(ben).press("Enter");
      }
      await admin.removeParticipant(id, own.user.id);
      bensProxy.restore();
      await gone(ben).waitFor();
      assert.equal(await unsent(ben).inputValue(), texts.join("\n"));
      const files = await ben.page.getByRole("list", { name: "Files to send" }).locator(".file-name").allInnerTexts();
      assert.deepEqual(files, ["plan.txt", "notes.txt"]);
      assert.equal(await focused(ben.page), "BODY");
      await screenshot(ben, "lost-files");
      await ben.page.getByText("Reconnecting…").waitFor({ state: "detached" });
      await assertSentNowhere(own, `secret-${run}`);
      const seen = await admin.messages(id);
      assert.deepEqual(seen.map(({ content }) => content), []);
      await ben.page.getByRole("button", { name: "Discard" }).click();
    },
  ],
  [
    "The text of an edit becomes the draft when its message or its conversation is deleted",
    async (fixture) => {
      const { ann, ben, run } = fixture;
      const { id, admin, own } = await converse(fixture, ann, ben);
      const { page } = ann;
      const editor = page.getByRole("textbox", { name: "Edit message" });
      const startEdit = async (/** @type {string} */ text) => {
        await ann.send("Short");
        await ann.waitUntilSent();
        await composer(ann).press("ArrowUp");
        await editor.fill(text);
      };
      const [first, second] = [`secret-${run}-6`, `secret-${run}-7`];
      await startEdit(first);
      const [message] = await own.messages(id);
      await admin.deleteMessage(message.id);
      await editor.waitFor({ state: "detached" });
      await page.getByText("The message you were editing is gone.").waitFor();
      assert.equal(await composer(ann).inputValue(), first);
      assert.ok(["ARTICLE", "DIV"].includes(String(await focused(page))), "Enter would send the edited text as a new message");
      await composer(ann).fill("");
      await startEdit(second);
      await admin.deleteChannel(id);
      await gone(ann).waitFor();
      await page.keyboard.press("Enter");
      assert.equal(await unsent(ann).inputValue(), second);
      await assertSentNowhere(own, `secret-${run}`);
    },
  ],
  [
    "The composition of an input method ends with its conversation",
    async (fixture) => {
      const { ann, ben, run } = fixture;
      const { id, admin, own } = await converse(fixture, ann, ben);
      const keyboard = await ann.context.newCDPSession(ann.page);
      const secret = `secret-${run}-8 `;
      await composer(ann).fill(secret);
      await composer(ann).press("End");
      await keyboard.send("Input.imeSetComposition", { text: "하", selectionStart: 1, selectionEnd: 1 });
      await admin.deleteChannel(id);
      await gone(ann).waitFor();
      await keyboard.send("Input.insertText", { text: "한글" });
      await ann.page.keyboard.press("Enter");
      assert.equal(await unsent(ann).inputValue(), `${secret}하`);
      assert.equal(await focused(ann.page), "BODY");
      await assertSentNowhere(own, `secret-${run}`);
    },
  ],
  [
    "A conversation that a list lacks and the next one has again opens with its draft, and takes no focus",
    async (fixture) => {
      const { ann, ben, channel, run } = fixture;
      const { id, admin, own } = await converse(fixture, ann, ben);
      const { page } = ann;
      const secret = `secret-${run}-9`;
      await composer(ann).fill(secret);
      await page.route("**/api/channels?*", async (route) => {
        const response = await route.fetch();
        await route.fulfill({ response, json: (await response.json()).filter((/** @type {any} */ each) => each.id !== id) });
      });
      const [{ id: other }] = (await admin.channels()).filter((each) => each.name === channel);
      const change = () => admin.describeChannel(other, `Changed ${Math.random()}`);
      await change();
      await gone(ann).waitFor();
      await page.unroute("**/api/channels?*");
      await change();
      await composer(ann).waitFor();
      assert.equal(await composer(ann).inputValue(), secret);
      await page.keyboard.type(secret);
      await page.keyboard.press("Enter");
      assert.equal(await composer(ann).inputValue(), secret);
      await assertSentNowhere(own, secret);
      await composer(ann).fill("");
    },
  ],
  [
    "A new conversation whose dialog was closed does not open over the one in which the user types",
    async (fixture) => {
      const { ann, ben, base, password, run } = fixture;
      const { id } = await converse(fixture, ann, ben);
      const ida = `ida-${run}`;
      await signUp(base.href, ida, password);
      const { page } = ann;
      /** @type {() => void} */
      let release = () => {};
      const released = new Promise((resolve) => (release = () => resolve(undefined)));
      await page.route("**/api/channels/private", async (route) => (await released, route.continue()));
      await page.getByRole("button", { name: "New private conversation" }).click();
      const dialog = page.getByRole("dialog");
      await dialog.getByLabel("Find people").fill(ida);
      await dialog.getByText(ida, { exact: true }).click();
      await dialog.getByRole("button", { name: "Start" }).click();
      await page.keyboard.press("Escape");
      await dialog.waitFor({ state: "detached" });
      await composer(ann).pressSequentially("For Ben, ");
      release();
      await ann.channel(ida).waitFor();
      await page.unroute("**/api/channels/private");
      await page.waitForTimeout(500);
      await page.keyboard.type("only.");
      assert.equal(new URL(page.url()).hash, `#/channels/${id}`);
      assert.equal(await composer(ann).inputValue(), "For Ben, only.");
      await composer(ann).fill("");
    },
  ],
  [
    "Another account in another tab gets neither the text nor the focus, and the author finds the draft again",
    async (fixture) => {
      const { ben, newPerson, password, run, screenshot } = fixture;
      const hal = await newPerson("hal");
      await hal.signUp(password);
      const { id, own, admin } = await converse(fixture, hal, ben);
      const bens = await api(fixture, ben);
      const { page } = hal;
      const secret = `secret-${run}-10`;
      await composer(hal).fill(secret);
      const other = await hal.context.newPage();
      hal.watch(other);
      await other.goto(hal.url);
      await hal.waitUntilSignedIn(other);
      const typeAndEnter = async () => {
        await page.keyboard.type(`more-${run}`);
        await page.keyboard.press("Enter");
      };
      await other.getByRole("button", { name: "Sign out" }).click();
      await hal.waitUntilSignedOut(page);
      await page.getByText("You signed out in another tab. Your unsent text is kept").waitFor();
      await typeAndEnter();
      assert.equal(await focused(page), "BODY");
      assert.equal(await page.getByLabel("Username").inputValue(), hal.name, "typed keys, or nothing, instead of the name");
      await screenshot(hal, "lost-session");
      await other.getByLabel("Username").fill(ben.name);
      await other.getByLabel("Password").fill(password);
      await other.getByRole("button", { name: "Sign in", exact: true }).click();
      // This tab follows. Ben is in the conversation, too, so its composer is open.
      await ben.waitUntilSignedIn(page);
      await composer(hal).waitFor();
      await typeAndEnter();
      assert.equal(await composer(hal).inputValue(), "");
      await page.getByRole("button", { name: "Sign out" }).click();
      await hal.waitUntilSignedOut(page);
      await other.close();
      await hal.signIn(password);
      await hal.waitUntilSignedIn();
      await openById(hal, id);
      assert.equal(await composer(hal).inputValue(), secret);

      // The cookie becomes Ben's without a word, and the page renews its token from it after a 401.
      await composer(hal).focus();
      await page.evaluate(
        async ([username, password]) => {
          const csrf = document.cookie.match(/XSRF-TOKEN=([^;]*)/)?.[1] ?? "";
          const headers = { "Content-Type": "application/json", "X-XSRF-TOKEN": decodeURIComponent(csrf) };
          await fetch("/api/auth/login", { method: "POST", headers, body: JSON.stringify({ username, password }) });
        },
        [ben.name, password],
      );
      await page.route("**/api/channels?*", (route) => route.fulfill({ status: 401, json: {} }), { times: 1 });
      await admin.createPrivate([admin.user.id, own.user.id]);
      await page.getByText("Another account signed in in this browser.").waitFor();
      await typeAndEnter();
      assert.equal(await focused(page), "BODY");
      await hal.signIn(password);
      await hal.waitUntilSignedIn();
      await composer(hal).waitFor();
      assert.equal(await composer(hal).inputValue(), secret);
      for (const each of [own, bens]) await assertSentNowhere(each, `more-${run}`);
      await hal.signOut();
      await hal.signIn(password);
      await hal.waitUntilSignedIn();
      await openById(hal, id);
      assert.equal(await composer(hal).inputValue(), "", "the user signed out here, which discards drafts");
      await hal.close();
    },
  ],
];
