import assert from "node:assert/strict";

/** Screenshots of a typical conversation, for review. @type {import("../run.mjs").Scenario[]} */
export const appearance = [
  [
    "The app renders on a wide screen, dark and light, and on a phone, where the lists are drawers",
    async ({ ann, ben, admin, run, screenshot }) => {
      const channel = `two-nodes-${run}`;
      await admin.createChannel(channel, "Two browsers, two nodes, one conversation");
      await Promise.all([ann.openChannel(channel), ben.openChannel(channel)]);
      /** @type {[typeof ann, string][]} */
      const messages = [
        [ann, "Morning! I am on the first node, you should be on the other one."],
        [ann, "이 메시지가 다른 브라우저에도 바로 보이나요? 🎉"],
        [ben, "はい、すぐ届きました。\n改行もそのままです。"],
        [ben, "Notes are at https://example.org/wiki/Resume_(computing), and `after-seq` is in there too."],
        [ann, "```js\nclient.subscribe(destination, onMessage, {\n  'after-seq': timeline.lastSeq,\n});\n```"],
        [ben, `One word too long for any line: ${"Kraftfahrzeug".repeat(14)}`],
        [admin, "That wraps as it should, and <b>this</b> stays text."],
        [ann, "👏👏"],
      ];
      for (const [person, text] of messages) {
        await person.send(text);
        await person.waitUntilSent();
      }
      await Promise.all([ann.waitForMessages("👏👏"), ben.waitForMessages("👏👏")]);
      await screenshot(ann, "desktop-dark");
      await ann.page.emulateMedia({ colorScheme: "light" });
      await screenshot(ann, "desktop-light");
      await ann.page.emulateMedia({ colorScheme: "dark" });

      const animationsFinished = () => Promise.all(document.getAnimations().map((animation) => animation.finished));
      await ben.page.setViewportSize({ width: 360, height: 780 });
      await ben.page.evaluate(animationsFinished);
      const widths = await ben.page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
      assert.deepEqual(widths, [360, 360], "content overflows at phone width");
      await screenshot(ben, "phone");
      await ben.page.getByRole("button", { name: "Show channels" }).click();
      await ben.channel(channel).waitFor();
      await ben.page.evaluate(animationsFinished);
      await screenshot(ben, "phone-channels");
      await ben.page.keyboard.press("Escape");
      await ben.page.getByRole("button", { name: "Members", exact: true }).click();
      await ben.page.getByRole("button", { name: "Close members" }).click();
    },
  ],
];
