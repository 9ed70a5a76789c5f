import assert from "node:assert/strict";

/** Pictures to be looked at, of a conversation worth looking at. @type {import("../run.mjs").Scenario[]} */
export const appearance = [
  [
    "It is shown on a wide dark screen, a light one and a phone's, where the lists are drawers",
    async ({ ann, ben, admin, run, picture }) => {
      const channel = `two-nodes-${run}`;
      await admin.createChannel(channel, "Two browsers, two nodes, one conversation");
      await Promise.all([ann.enter(channel), ben.enter(channel)]);
      /** @type {[typeof ann, string][]} */
      const talk = [
        [ann, "Morning! I am on the first node, you should be on the other one."],
        [ann, "이 메시지가 다른 브라우저에도 바로 보이나요? 🎉"],
        [ben, "はい、すぐ届きました。\n改行もそのままです。"],
        [ben, "Notes are at https://example.org/wiki/Resume_(computing), and `after-seq` is in there too."],
        [ann, "```js\nclient.subscribe(destination, onMessage, {\n  'after-seq': timeline.lastSeq,\n});\n```"],
        [ben, `One word too long for any line: ${"Kraftfahrzeug".repeat(14)}`],
        [admin, "That wraps as it should, and <b>this</b> stays text."],
        [ann, "👏👏"],
      ];
      for (const [who, text] of talk) {
        await who.say(text);
        await who.everythingSent();
      }
      await Promise.all([ann.sees("👏👏"), ben.sees("👏👏")]);
      await picture(ann, "desktop-dark");
      await ann.page.emulateMedia({ colorScheme: "light" });
      await picture(ann, "desktop-light");
      await ann.page.emulateMedia({ colorScheme: "dark" });

      const settled = () => Promise.all(document.getAnimations().map((animation) => animation.finished));
      await ben.page.setViewportSize({ width: 360, height: 780 });
      await ben.page.evaluate(settled);
      const widths = await ben.page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
      assert.deepEqual(widths, [360, 360], "nothing may stick out at phone width");
      await picture(ben, "phone");
      await ben.page.getByRole("button", { name: "Show channels" }).click();
      await ben.channel(channel).waitFor();
      await ben.page.evaluate(settled);
      await picture(ben, "phone-channels");
      await ben.page.keyboard.press("Escape");
      await ben.page.getByRole("button", { name: "Members", exact: true }).click();
      await ben.page.getByRole("button", { name: "Close members" }).click();
    },
  ],
  [
    "No page reported an error of its own or broke the content security policy",
    async ({ ann, ben, admin }) => {
      assert.deepEqual([...ann.errors, ...ben.errors, ...admin.errors], []);
    },
  ],
];
