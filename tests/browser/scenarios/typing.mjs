import assert from "node:assert/strict";

/** Longer than what is said once lasts. */
const KEEPS_ON_MS = 4_700;

/** @param {import("../browser.mjs").Person} person */
const line = (person) => person.page.locator(".typing p");

/** @param {import("../browser.mjs").Person} person */
const composer = (person) => person.page.locator(".composer textarea");

/** What stands at the bottom, and where. @param {import("../browser.mjs").Person} person */
const places = (person) =>
  person.page.evaluate(() =>
    [".messages", ".composer"].map((each) => JSON.stringify(document.querySelector(each)?.getBoundingClientRect())),
  );

/** @type {import("../run.mjs").Scenario[]} */
export const typing = [
  [
    "One who keeps on writing is said to, without a gap, by no more than one SEND in two seconds",
    async ({ ann, ben, channel }) => {
      await Promise.all([ann.enter(channel), ben.enter(channel)]);
      await ann.page.evaluate(() => {
        const send = WebSocket.prototype.send;
        /** @type {any} */ (window).said = [];
        WebSocket.prototype.send = function (data) {
          if (String(data).includes("/pub/typing")) /** @type {any} */ (window).said.push(performance.now());
          send.call(this, data);
        };
      });
      const named = line(ben).filter({ hasText: ann.name });
      const gone = named
        .waitFor()
        .then(() => named.waitFor({ state: "detached" }))
        .then(() => Date.now());
      for (const until = Date.now() + KEEPS_ON_MS; Date.now() < until; ) await composer(ann).pressSequentially("and on ");
      const stopped = Date.now();
      await composer(ann).fill("");
      /** @type {number[]} */
      const said = await ann.page.evaluate(() => /** @type {any} */ (window).said);
      assert.ok(said.length >= 3, `${said.length} were sent`);
      for (let index = 1; index < said.length; index++) {
        assert.ok(said[index] - said[index - 1] >= 2_000, `${said[index] - said[index - 1]} ms between two`);
      }
      const lasted = (await gone) - stopped;
      assert.ok(lasted > 0 && lasted < 6_000, `gone ${lasted} ms after the last key`);
    },
  ],
  [
    "Who writes is named to the others, not to themselves, until the message is there, and nothing moves",
    async ({ ann, ben, admin, channel, picture }) => {
      await Promise.all([ann.enter(channel), ben.enter(channel), admin.enter(channel)]);
      const before = await places(ben);
      await composer(ann).pressSequentially("I am writing");
      await line(ben).filter({ hasText: `${ann.name} is typing…` }).waitFor();
      await composer(admin).pressSequentially("So am I");
      await line(ben).filter({ hasText: `${ann.name} and ${admin.name} are typing…` }).waitFor();
      assert.deepEqual(await places(ben), before);
      await picture(ben, "typing");
      await line(ann).filter({ hasText: `${admin.name} is typing…` }).waitFor();
      await composer(ann).press("Enter");
      await ben.sees("I am writing");
      await line(ben).filter({ hasText: `${admin.name} is typing…` }).waitFor();
      await composer(admin).fill("");
    },
  ],
];
