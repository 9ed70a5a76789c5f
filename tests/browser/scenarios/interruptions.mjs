const INTERRUPTION_MS = 3_000;

/** @type {import("../run.mjs").Scenario[]} */
export const interruptions = [
  [
    "Five messages sent during an interruption of 3 s appear once each after the reconnect",
    async ({ ann, ben, bensProxy, channel }) => {
      await Promise.all([ann.openChannel(channel), ben.openChannel(channel)]);
      await ann.send("The line is about to go.");
      await ben.waitForMessages("The line is about to go.");
      bensProxy.cut();
      const cutAt = Date.now();
      const missed = Array.from({ length: 5 }, (_, index) => `Said while Ben was away, ${index + 1}.`);
      for (const text of missed) await ann.send(text);
      await ann.waitUntilSent();
      await ben.page.getByText("Reconnecting…").waitFor();
      await ben.page.waitForTimeout(Math.max(0, INTERRUPTION_MS - (Date.now() - cutAt)));
      bensProxy.restore();
      await ben.assertMessages(["The line is about to go.", ...missed]);
      await ben.page.getByText("Reconnecting…").waitFor({ state: "detached" });
      await ann.send("Welcome back.");
      await ben.assertMessages(["The line is about to go.", ...missed, "Welcome back."]);
    },
  ],
  [
    "Messages typed without a connection are sent once after the reconnect",
    async ({ ann, ben, bensProxy }) => {
      bensProxy.cut();
      await ben.page.getByText("Reconnecting…").waitFor();
      const texts = ["Typed in the dark, one.", "Typed in the dark, two."];
      for (const text of texts) await ben.send(text);
      await ben.page.locator(".message.pending").nth(1).waitFor();
      bensProxy.restore();
      await Promise.all([ann.assertMessages(texts), ben.assertMessages(texts)]);
      await ben.waitUntilSent();
    },
  ],
  [
    "A channel created during an interruption appears after the reconnect",
    async ({ admin, ben, bensProxy, run }) => {
      const name = `late-${run}`;
      bensProxy.cut();
      await admin.createChannel(name);
      bensProxy.restore();
      await ben.channel(name).waitFor();
    },
  ],
];
