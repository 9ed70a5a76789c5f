const AWAY_MS = 3_000;

/** @type {import("../run.mjs").Scenario[]} */
export const interruptions = [
  [
    "Five messages sent while a line was cut for three seconds are all there, once, after it is back",
    async ({ ann, ben, bensLine, channel }) => {
      await Promise.all([ann.enter(channel), ben.enter(channel)]);
      await ann.say("The line is about to go.");
      await ben.sees("The line is about to go.");
      bensLine.cut();
      const cutAt = Date.now();
      const missed = Array.from({ length: 5 }, (_, index) => `Said while Ben was away, ${index + 1}.`);
      for (const text of missed) await ann.say(text);
      await ann.everythingSent();
      await ben.page.getByText("Reconnecting…").waitFor();
      await ben.page.waitForTimeout(Math.max(0, AWAY_MS - (Date.now() - cutAt)));
      bensLine.mend();
      await ben.hasRead(["The line is about to go.", ...missed]);
      await ben.page.getByText("Reconnecting…").waitFor({ state: "detached" });
      await ann.say("Welcome back.");
      await ben.hasRead(["The line is about to go.", ...missed, "Welcome back."]);
    },
  ],
  [
    "What is typed without a connection waits, and is sent once when it is back",
    async ({ ann, ben, bensLine }) => {
      bensLine.cut();
      await ben.page.getByText("Reconnecting…").waitFor();
      const texts = ["Typed in the dark, one.", "Typed in the dark, two."];
      for (const text of texts) await ben.say(text);
      await ben.page.locator(".message.pending").nth(1).waitFor();
      bensLine.mend();
      await Promise.all([ann.hasRead(texts), ben.hasRead(texts)]);
      await ben.everythingSent();
    },
  ],
  [
    "A channel created while a line was cut is in the list after it is back",
    async ({ admin, ben, bensLine, run }) => {
      const name = `late-${run}`;
      bensLine.cut();
      await admin.createChannel(name);
      bensLine.mend();
      await ben.channel(name).waitFor();
    },
  ],
];
