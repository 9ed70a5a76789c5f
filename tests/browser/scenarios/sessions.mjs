import assert from "node:assert/strict";
import { Person } from "../browser.mjs";
import { png } from "../png.mjs";

/** @type {import("../run.mjs").Scenario[]} */
export const sessions = [
  [
    "A wrong password is answered with the server's sentence, and the sign-in form stays",
    async ({ ann, picture }) => {
      await ann.isOut();
      await picture(ann, "sign-in");
      const [answer] = await Promise.all([
        ann.page.waitForResponse((response) => response.url().endsWith("/api/auth/login")),
        ann.signIn("certainly wrong"),
      ]);
      assert.equal(answer.status(), 401);
      const { message } = await answer.json();
      await ann.page.getByRole("alert").getByText(message, { exact: true }).waitFor();
      await ann.isOut();
    },
  ],
  [
    "Two people sign up in two browsers and are served by two different nodes",
    async ({ ann, ben, password }) => {
      await Promise.all([ann.signUp(password), ben.signUp(password)]);
      assert.equal(ann.nodes.size, 1, `Ann was answered by ${[...ann.nodes]}`);
      assert.equal(ben.nodes.size, 1, `Ben was answered by ${[...ben.nodes]}`);
      assert.notDeepEqual(ann.nodes, ben.nodes);
    },
  ],
  [
    "Somebody who signed up can sign out, sign in again and stay signed in over a reload",
    async ({ ben, password }) => {
      await ben.signOut();
      await ben.signIn(password);
      await ben.isIn();
      await ben.page.reload();
      await ben.isIn();
    },
  ],
  [
    "Whoever signs up is in the member list of the others without a reload, with the picture they chose",
    async ({ ann, ben, newPerson, password }) => {
      const gus = await newPerson("gus");
      await gus.signUp(password, png(96, 96));
      for (const { page } of [ann, ben]) {
        const members = page.getByRole("complementary", { name: "Members" });
        await Person.drawn(members.locator(".member", { hasText: gus.name }).locator("img.face"));
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
      await cem.isIn(other);
      await cem.signOut();
      await cem.isOut(other);
      await other.reload();
      await cem.isOut(other);
      await other.close();
    },
  ],
  [
    "A session a day old changes its cookie once, though two tabs want to, and both stay signed in",
    async ({ newPerson, password }) => {
      const dee = await newPerson("dee");
      await dee.signUp(password);
      const other = await dee.context.newPage();
      dee.watch(other);
      let changes = 0;
      dee.context.on("request", (request) => {
        if (request.url().endsWith("/api/auth/refresh")) changes++;
      });
      await other.goto(dee.url);
      await dee.isIn(other);
      await dee.page.evaluate(() => localStorage.setItem("discodeit.rotated-at", "0"));
      for (let round = 0; round < 2; round++) {
        await Promise.all([dee.page.reload(), other.reload()]);
        await Promise.all([dee.isIn(), dee.isIn(other)]);
        await dee.page.waitForTimeout(500);
      }
      assert.equal(changes, 1);
      await other.close();
    },
  ],
];
