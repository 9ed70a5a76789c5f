// axe in the main states of the app, in both themes and both languages.
import assert from "node:assert/strict";
import { rm, writeFile } from "node:fs/promises";
import axe from "axe-core";
import { png } from "../png.mjs";
import { wav } from "../wav.mjs";

/** Both themes and both languages appear. */
const LOOKS = /** @type {const} */ ([
  { theme: "dark", language: "en" },
  { theme: "light", language: "ko" },
]);

/** Chooses as another tab would. @param {import("playwright-core").Page} page @param {{theme: string, language: string}} look */
async function choose(page, { theme, language }) {
  await page.evaluate((choices) => {
    for (const [key, value] of choices) {
      localStorage.setItem(key, value);
      dispatchEvent(new StorageEvent("storage", { key }));
    }
  }, [["discodeit.theme", theme], ["discodeit.language", language]]);
  await page.locator(`html[lang=${language}]`).waitFor();
  await page.evaluate(() => {
    const finite = document.getAnimations().filter(({ effect }) => effect?.getTiming().iterations !== Infinity);
    return Promise.allSettled(finite.map(({ finished }) => finished));
  });
}

/** @param {import("playwright-core").Page} page @param {string} state */
async function audit(page, state) {
  await page.evaluate(axe.source);
  for (const look of LOOKS) {
    await choose(page, look);
    const violations = await page.evaluate(async () => {
      const { violations } = await /** @type {any} */ (globalThis).axe.run(document, { resultTypes: ["violations"], preload: false });
      return violations.map((/** @type {any} */ { id, nodes }) => [id, ...nodes.map((/** @type {any} */ each) => `${each.target} ${each.failureSummary}`)]);
    });
    assert.deepEqual(violations, [], `${state}, ${look.theme}, ${look.language}`);
  }
  await choose(page, { theme: "system", language: "en" });
}

/** @type {import("../run.mjs").Scenario[]} */
export const accessibility = [
  [
    "axe finds nothing in the sign-in and sign-up forms, with and without errors",
    async ({ newPerson }) => {
      const person = await newPerson("forms");
      const { page } = person;
      await person.waitUntilSignedOut();
      await audit(page, "sign-in");
      await person.signIn("wrong");
      await page.locator(".form-error").waitFor();
      await audit(page, "sign-in, refused");
      await page.getByRole("button", { name: "Create an account" }).click();
      await page.getByLabel("Username").fill("x");
      await page.getByLabel("Email").fill("x@example.org");
      await page.getByLabel("Password").fill("1");
      await page.getByRole("button", { name: "Create account" }).click();
      await page.locator("[aria-invalid=true]").waitFor();
      await audit(page, "sign-up, refused");
      await person.close();
    },
  ],
  [
    "axe finds nothing in channels and conversations",
    async ({ ann, ben, admin, run }) => {
      const { page } = ann;
      const channel = `axe-${run}`;
      await admin.createChannel(channel, "For axe: https://example.org");
      await ann.openChannel(channel);
      await audit(page, "an empty channel");
      await ben.openChannel(channel);
      await ben.send(`Hello @${ann.name}, **look** at https://example.org and ||this||`);
      await ben.send("```js\nconst long = [1, 2, 3].map((each) => each + 1);\n```\n> a quote\n- a list");
      await ann.send("Mine 👍");
      await page.locator("input[type=file]").setInputFiles([
        { name: "a.png", mimeType: "image/png", buffer: png(60, 40) },
        { name: "notes.txt", mimeType: "text/plain", buffer: Buffer.from("notes") },
      ]);
      await ann.send("With files");
      await ann.waitUntilSent();
      await page.locator(".picture img").first().waitFor();
      await page.locator("a.file").waitFor();
      await page.locator(".composer textarea").fill("x".repeat(2_010));
      await audit(page, "messages, files and a text that is too long");
      await page.locator(".composer textarea").fill("");
      await page.locator(".message", { hasText: "Mine" }).hover();
      await page.getByRole("button", { name: "Edit message" }).first().click();
      await audit(page, "an edit");
      await page.keyboard.press("Escape");
      await page.locator("button.picture").first().click();
      await page.getByRole("dialog").waitFor();
      await audit(page, "a picture");
      await page.keyboard.press("Escape");
    },
  ],
  [
    "axe finds nothing in the emoji, and while a reply with a name is written",
    async ({ ann, ben, admin, run }) => {
      const { page } = ann;
      const open = `axe-replies-${run}`;
      await admin.createChannel(open);
      await Promise.all([ann.openChannel(open), ben.openChannel(open)]);
      await ben.send(`Hello @${ann.name}`);
      await ann.waitForMessages("Hello");
      await page.locator(".message").first().hover();
      await page.getByRole("button", { name: "Add a reaction" }).first().click();
      await page.getByRole("tab", { name: "Smileys" }).waitFor();
      await audit(page, "the emoji");
      await page.getByRole("searchbox", { name: "Search emoji" }).fill("heart");
      await audit(page, "found emoji");
      await page.keyboard.press("Enter");
      await page.locator(".reaction[aria-pressed=true]").waitFor();
      await page.locator(".message").first().hover();
      await page.getByRole("button", { name: "Reply", exact: true }).first().click();
      await page.locator(".composer textarea").pressSequentially("Yes @");
      await page.getByRole("listbox").waitFor();
      await audit(page, "a reply and names");
      await page.locator(".composer textarea").fill("");
      await page.locator(".composer textarea").press("Escape");
    },
  ],
  [
    "axe finds nothing in dialogs and panels",
    async ({ ann, admin }) => {
      const { page } = ann;
      for (const name of ["Settings", "Your profile", "New private conversation", "Channel options", "Go to…"]) {
        await page.getByRole("button", { name: new RegExp(`^${name}|${name}$`, "i") }).first().click();
        await page.getByRole("dialog").waitFor();
        await audit(page, name);
        await page.keyboard.press("Escape");
        await page.getByRole("dialog").waitFor({ state: "hidden" });
      }
      await page.getByRole("button", { name: /^Notifications/ }).click();
      await audit(page, "notifications");
      await page.keyboard.press("Escape");
      for (const name of ["Create channel", "Administration"]) {
        await admin.page.getByRole("button", { name }).click();
        await admin.page.getByRole("dialog").waitFor();
        await audit(admin.page, name);
        await admin.page.keyboard.press("Escape");
      }
    },
  ],
  [
    "axe finds nothing in the dialogs of the account, in a new group, in the card of a person and in an administrator's page of one",
    async ({ ann, ben, admin }) => {
      const { page } = ann;
      const close = async () => {
        await page.keyboard.press("Escape");
        await page.getByRole("dialog").waitFor({ state: "hidden" });
      };
      for (const name of ["Change password", "Devices", "Delete account"]) {
        await page.getByRole("button", { name: /your profile/ }).click();
        await page.getByRole("dialog").getByRole("button", { name }).click();
        await page.getByRole("dialog", { name: name.replace("Delete account", "Delete your account?") }).waitFor();
        if (name === "Devices") await page.getByText("This device").waitFor();
        await audit(page, name);
        await close();
      }
      await page.getByRole("button", { name: "New private conversation" }).click();
      for (const name of [ben.name, admin.name]) {
        await page.getByLabel("Find people").fill(name);
        await page.getByRole("checkbox").first().check();
      }
      await page.getByLabel("Name").waitFor();
      await audit(page, "a new group");
      await page.getByRole("button", { name: "Cancel" }).click();
      await page.locator(".member", { hasText: ben.name }).click();
      await page.getByRole("dialog", { name: "Profile" }).getByRole("button", { name: "Message" }).waitFor();
      await audit(page, "a card");
      await page.keyboard.press("Escape");
      await admin.page.getByRole("button", { name: "Administration" }).click();
      const dialog = admin.page.getByRole("dialog", { name: "Administration" });
      await dialog.getByRole("searchbox").fill(ben.name);
      await dialog.getByRole("button", { name: ben.name }).click();
      await dialog.getByRole("radio").nth(1).check();
      await dialog.getByRole("button", { name: "Delete account" }).click();
      await audit(admin.page, "a person");
      await admin.page.keyboard.press("Escape");
    },
  ],
  [
    "axe finds nothing in players, a document and a message that lost a file",
    async ({ ann, run }) => {
      const { page } = ann;
      const path = `/tmp/discodeit-lost-${run}.txt`;
      await page.locator(".composer input[type=file]").setInputFiles([
        { name: "tone.wav", mimeType: "audio/wav", buffer: wav(1) },
        { name: "paper.pdf", mimeType: "application/pdf", buffer: Buffer.from("%PDF-1.4") },
      ]);
      await ann.send("To hear and to read");
      await ann.waitUntilSent();
      await page.locator(".message", { hasText: "To hear and to read" }).locator(".player audio").waitFor();
      await writeFile(path, "here");
      await page.locator(".composer input[type=file]").setInputFiles(path);
      await rm(path);
      await ann.send("Lost");
      const failed = page.locator(".message.failed");
      await failed.getByText("was changed or deleted").waitFor();
      await audit(page, "players, a document and a lost file");
      await failed.getByRole("button", { name: "Discard" }).click();
    },
  ],
  [
    "axe finds nothing on a phone, and while the server cannot be reached",
    async ({ ann, annsProxy }) => {
      const { page } = ann;
      await page.setViewportSize({ width: 360, height: 780 });
      await audit(page, "a phone");
      await page.getByRole("button", { name: "Show channels" }).click();
      await audit(page, "a phone, channels");
      await page.keyboard.press("Escape");
      annsProxy.cut();
      await page.getByText("Reconnecting…").waitFor();
      await audit(page, "no connection");
      annsProxy.restore();
      await page.getByText("Reconnecting…").waitFor({ state: "hidden" });
      await page.setViewportSize({ width: 1360, height: 850 });
    },
  ],
];
