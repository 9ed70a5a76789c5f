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
