import assert from "node:assert/strict";

/** Longer than the display of one typing notice. */
const TYPING_MS = 4_700;

/** @param {import("../browser.mjs").Person} person */
const line = (person) => person.page.locator(".typing p");

/** @param {import("../browser.mjs").Person} person */
const composer = (person) => person.page.locator(".composer textarea");

/** The bounds of messages and composer. @param {import("../browser.mjs").Person} person */
const bounds = (person) =>
  person.page.evaluate(() =>
    [".messages", ".composer"].map((each) => JSON.stringify(document.querySelector(each)?.getBoundingClientRect())),
  );

/** @type {import("../run.mjs").Scenario[]} */
export const typing = [
  [
    "Continuous typing shows without a gap, with at most one SEND per 2 s",
    async ({ ann, ben, channel }) => {
      await Promise.all([ann.openChannel(channel), ben.openChannel(channel)]);
      await ann.page.evaluate(() => {
        // To the worker with the connection.
        const post = MessagePort.prototype.postMessage;
        /** @type {any} */ (window).sent = [];
        MessagePort.prototype.postMessage = function (/** @type {any[]} */ ...args) {
          if (args[0].destination === "/pub/typing") /** @type {any} */ (window).sent.push(performance.now());
          // @ts-ignore
          post.apply(this, args);
        };
      });
      const named = line(ben).filter({ hasText: ann.name });
      const gone = named
        .waitFor()
        .then(() => named.waitFor({ state: "detached" }))
        .then(() => Date.now());
      for (const until = Date.now() + TYPING_MS; Date.now() < until; ) await composer(ann).pressSequentially("and on ");
      const stopped = Date.now();
      await composer(ann).fill("");
      /** @type {number[]} */
      const sent = await ann.page.evaluate(() => /** @type {any} */ (window).sent);
      assert.ok(sent.length >= 3, `${sent.length} SENDs`);
      for (let index = 1; index < sent.length; index++) {
        assert.ok(sent[index] - sent[index - 1] >= 2_000, `${sent[index] - sent[index - 1]} ms between two SENDs`);
      }
      const lasted = (await gone) - stopped;
      assert.ok(lasted > 0 && lasted < 6_000, `gone ${lasted} ms after the last key`);
    },
  ],
  [
    "Typists are shown to others, not to themselves, until their message arrives, and nothing moves",
    async ({ ann, ben, admin, channel, screenshot }) => {
      await Promise.all([ann.openChannel(channel), ben.openChannel(channel), admin.openChannel(channel)]);
      const before = await bounds(ben);
      await composer(ann).pressSequentially("I am writing");
      await line(ben).filter({ hasText: `${ann.name} is typing…` }).waitFor();
      await composer(admin).pressSequentially("So am I");
      await line(ben).filter({ hasText: `${ann.name} and ${admin.name} are typing…` }).waitFor();
      assert.deepEqual(await bounds(ben), before);
      await screenshot(ben, "typing");
      await line(ann).filter({ hasText: `${admin.name} is typing…` }).waitFor();
      await composer(ann).press("Enter");
      await ben.waitForMessages("I am writing");
      await line(ben).filter({ hasText: `${admin.name} is typing…` }).waitFor();
      await composer(admin).fill("");
    },
  ],
];
