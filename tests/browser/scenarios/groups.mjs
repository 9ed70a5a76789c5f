// Private conversations of three or more: their names and their people.
import assert from "node:assert/strict";
import { apiOf, signUp } from "../api.mjs";

/** @typedef {import("../browser.mjs").Person} Person */

/** @param {Person} person @param {string[]} names @param {(dialog: import("playwright-core").Locator) => Promise<void>} [choose] */
async function startGroup(person, names, choose) {
  await person.page.getByRole("button", { name: "New private conversation" }).click();
  const dialog = person.page.getByRole("dialog", {
    name: "New private conversation",
  });
  await pick(dialog, names);
  await choose?.(dialog);
  await dialog.getByRole("button", { name: "Start" }).click();
  await dialog.waitFor({ state: "detached" });
}

/** @param {import("playwright-core").Locator} dialog @param {string[]} names */
async function pick(dialog, names) {
  for (const name of names) {
    await dialog.getByLabel("Find people").fill(name);
    await dialog.getByText(name, { exact: true }).click();
  }
  await dialog.getByText(`${names.length} chosen`).waitFor();
}

/** @param {Person} person @param {string} name */
const heading = (person, name) => person.page.getByRole("heading", { level: 1, name, exact: true });
/** @param {Person} person @param {string} name */
const member = (person, name) =>
  person.page.getByRole("complementary", { name: "Members" }).getByText(name, { exact: true });
/** @param {Person} person @param {string} text */
const said = (person, text) => person.page.locator(".toast", { hasText: text });

/** @type {import("../run.mjs").Scenario[]} */
export const groups = [
  [
    "A group has a name that everybody in it sees and may change, and people who are added later read what the creator chose",
    async ({ ann, ben, base, password, run, screenshot }) => {
      const [cem, dee] = await Promise.all(
        ["cem", "dee"].map((name) => signUp(base.href, `${name}-group-${run}`, password)),
      );
      const [lunch, dinner] = [`Lunch ${run}`, `Dinner ${run}`];
      await startGroup(ann, [ben.name, cem.user.username], async (dialog) => {
        await dialog.getByLabel("Name").fill(lunch);
        await dialog.getByLabel("People who are added later can read everything from before").check();
        await screenshot(ann, "group-new");
      });
      await heading(ann, lunch).waitFor();
      await ann.send(`Noon? ${run}`);
      await ben.openChannel(lunch);
      await ben.waitForMessages(`Noon? ${run}`);

      await (await ben.channelOption("Rename conversation")).click();
      const renaming = ben.page.getByRole("dialog", {
        name: "Name of this conversation",
      });
      assert.equal(await renaming.getByLabel("Name").inputValue(), lunch);
      await renaming.getByLabel("Name").fill(dinner);
      await renaming.getByRole("button", { name: "Save" }).click();
      await Promise.all([ann, ben].map((person) => heading(person, dinner).waitFor()));
      await said(ann, `This conversation is now called “${dinner}”.`).waitFor();

      await (await ben.channelOption("Add people")).click();
      const adding = ben.page.getByRole("dialog", { name: "Add people" });
      await adding.getByText("They will be able to read everything from before.").waitFor();
      await adding.getByLabel("Find people").fill(cem.user.username);
      await adding.getByText("Nobody by that name").waitFor();
      await pick(adding, [dee.user.username]);
      await adding.getByRole("button", { name: "Add", exact: true }).click();
      await adding.waitFor({ state: "detached" });
      await Promise.all([ann, ben].map((person) => member(person, dee.user.username).waitFor()));
      await said(ann, `${dee.user.username} is now in this conversation.`).waitFor();
      await screenshot(ann, "group");
      const { id } = /** @type {any} */ ((await dee.channels()).find(({ name }) => name === dinner));
      assert.deepEqual(
        (await dee.messages(id)).map(({ content }) => content),
        [`Noon? ${run}`],
      );

      await dee.leave(id);
      await said(ann, `${dee.user.username} is no longer in this conversation.`).waitFor();
      await member(ann, dee.user.username).waitFor({ state: "detached" });
    },
  ],
  [
    "A group without a name is called by its people, and those who are added later read only what comes then",
    async ({ ann, ben, base, password, run }) => {
      const [eli, fee] = await Promise.all(
        ["eli", "fee"].map((name) => signUp(base.href, `${name}-group-${run}`, password)),
      );
      await startGroup(ann, [ben.name, eli.user.username]);
      const id = ann.page.url().split("/").pop();
      const title = (await ann.page.getByRole("heading", { level: 1 }).innerText()).split(", ").sort();
      assert.deepEqual(title, [ben.name, eli.user.username].sort());
      await ann.send(`Before ${run}`);
      await ann.waitUntilSent();
      await ann.page.getByRole("button", { name: "Channel options" }).click();
      await ann.page.getByRole("button", { name: "Add people" }).click();
      const adding = ann.page.getByRole("dialog", { name: "Add people" });
      await adding.getByText("and nothing from before").waitFor();
      await pick(adding, [fee.user.username]);
      await adding.getByRole("button", { name: "Add", exact: true }).click();
      await adding.waitFor({ state: "detached" });
      await ann.send(`Then ${run}`);
      await ann.waitUntilSent();
      assert.deepEqual(
        (await fee.messages(id ?? "")).map(({ content }) => content),
        [`Then ${run}`],
      );
      await ben.page.evaluate((hash) => {
        location.hash = hash;
      }, `/channels/${id}`);
      await ben.waitForMessages(`Then ${run}`);
    },
  ],
  [
    "A conversation of two offers a new one with more people, and keeps the name of somebody who is gone",
    async ({ ann, ben, admin, base, password, adminPassword, run, channel, screenshot }) => {
      const gil = await signUp(base.href, `gil-group-${run}`, password);
      const name = gil.user.username;
      await startGroup(ann, [name]);
      await heading(ann, name).waitFor();
      await ann.page.getByRole("button", { name: "Channel options" }).click();
      assert.equal(await ann.page.getByRole("button", { name: "Rename conversation" }).count(), 0);
      await ann.page.getByRole("button", { name: "New conversation with more people" }).click();
      const dialog = ann.page.getByRole("dialog", {
        name: "New private conversation",
      });
      await dialog.getByText("1 chosen").waitFor();
      await dialog.getByLabel("Find people").fill(ben.name);
      await dialog.getByText(ben.name, { exact: true }).click();
      await dialog.getByText("2 chosen").waitFor();
      await dialog.getByRole("button", { name: "Cancel" }).click();

      await (await apiOf(base.href, admin.name, adminPassword)).deleteUser(gil.user.id);
      await heading(ann, `${name} (gone)`).waitFor();
      await ann.channel(`${name} (gone)`).waitFor();
      await screenshot(ann, "group-gone");
      await ann.page.reload();
      await heading(ann, `${name} (gone)`).waitFor();
      await ann.openChannel(channel);
    },
  ],
];
