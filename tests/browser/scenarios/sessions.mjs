import assert from "node:assert/strict";
import { Person } from "../browser.mjs";
import { png } from "../png.mjs";

/** @type {import("../run.mjs").Scenario[]} */
export const sessions = [
  [
    "A wrong password shows the server's message, and the sign-in form stays",
    async ({ ann, screenshot }) => {
      await ann.waitUntilSignedOut();
      await screenshot(ann, "sign-in");
      const [answer] = await Promise.all([
        ann.page.waitForResponse((response) => response.url().endsWith("/api/auth/login")),
        ann.signIn("certainly wrong"),
      ]);
      assert.equal(answer.status(), 401);
      const { message } = await answer.json();
      await ann.page.getByRole("alert").getByText(message, { exact: true }).waitFor();
      await ann.waitUntilSignedOut();
    },
  ],
  [
    "Two users sign up in two browsers, and different nodes serve them",
    async ({ ann, ben, password }) => {
      await Promise.all([ann.signUp(password), ben.signUp(password)]);
      assert.equal(ann.nodes.size, 1, `Ann's nodes: ${[...ann.nodes]}`);
      assert.equal(ben.nodes.size, 1, `Ben's nodes: ${[...ben.nodes]}`);
      assert.notDeepEqual(ann.nodes, ben.nodes);
    },
  ],
  [
    "A sign-up that is refused says why at the field, once, and the field has the focus",
    async ({ ann, newPerson, password }) => {
      const ned = await newPerson("ned");
      const { page } = ned;
      await page.getByRole("button", { name: "Create an account" }).click();
      const form = page.locator("form");
      const wrong = (/** @type {string} */ text) => form.locator(".note.wrong", { hasText: text });
      const submit = async (/** @type {string} */ name, /** @type {string} */ secret) => {
        await page.getByLabel("Username").fill(name);
        await page.getByLabel("Email").fill(`${ned.name}@example.org`);
        await page.getByLabel("Password").fill(secret);
        await page.getByRole("button", { name: "Create account" }).click();
      };
      for (const [field, text, name, secret] of [
        ["Password", "Password must be 5 to 128 characters.", ned.name, "abc"],
        ["Username", "This username is taken.", ann.name.toUpperCase(), password],
      ]) {
        await submit(name, secret);
        await wrong(text).waitFor();
        assert.equal(await form.locator(".form-error").count(), 0);
        const input = page.getByLabel(field);
        assert.equal(await input.getAttribute("aria-invalid"), "true");
        assert.equal(await input.evaluate((element) => element === document.activeElement), true, `${field} has no focus`);
      }
      await submit(ned.name, password);
      await ned.waitUntilSignedIn();
      await ned.close();
    },
  ],
  [
    "A user can sign out, sign in again, and stays signed in after a reload",
    async ({ ben, password }) => {
      await ben.signOut();
      await ben.signIn(password);
      await ben.waitUntilSignedIn();
      await ben.page.reload();
      await ben.waitUntilSignedIn();
    },
  ],
  [
    "A new user appears in the member lists of others without a reload, with the chosen picture",
    async ({ ann, ben, newPerson, password }) => {
      const gus = await newPerson("gus");
      await gus.signUp(password, png(96, 96));
      for (const { page } of [ann, ben]) {
        const members = page.getByRole("complementary", { name: "Members" });
        await Person.waitForPicture(members.locator(".member", { hasText: gus.name }).locator("img.face"));
      }
      await gus.close();
    },
  ],
  [
    "Signing out in one tab signs out the other tab",
    async ({ newPerson, password }) => {
      const cem = await newPerson("cem");
      await cem.signUp(password);
      const other = await cem.context.newPage();
      cem.watch(other);
      await other.goto(cem.url);
      await cem.waitUntilSignedIn(other);
      await cem.signOut();
      await cem.waitUntilSignedOut(other);
      await other.reload();
      await cem.waitUntilSignedOut(other);
      await other.close();
    },
  ],
  [
    "A session older than a day rotates its cookie once for two tabs, and both stay signed in",
    async ({ newPerson, password }) => {
      const dee = await newPerson("dee");
      await dee.signUp(password);
      const other = await dee.context.newPage();
      dee.watch(other);
      let rotations = 0;
      dee.context.on("request", (request) => {
        if (request.url().endsWith("/api/auth/refresh")) rotations++;
      });
      await other.goto(dee.url);
      await dee.waitUntilSignedIn(other);
      await dee.page.evaluate(() => localStorage.setItem("discodeit.rotated-at", "0"));
      for (let round = 0; round < 2; round++) {
        await Promise.all([dee.page.reload(), other.reload()]);
        await Promise.all([dee.waitUntilSignedIn(), dee.waitUntilSignedIn(other)]);
        await dee.page.waitForTimeout(500);
      }
      assert.equal(rotations, 1);
      await other.close();
    },
  ],
];
