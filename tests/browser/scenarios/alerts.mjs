// Desktop notifications, the sound, and the numbers in the title and the icon.
import assert from "node:assert/strict";
import { until } from "../until.mjs";

/** Records what the page shows on the desktop and sounds. */
function recordAlerts() {
  const records = (/** @type {any} */ (globalThis).records = { shown: /** @type {any[]} */ ([]), closed: 0, tones: 0 });
  if ("Notification" in globalThis) {
    globalThis.Notification = class extends Notification {
      /** @param {string} title @param {NotificationOptions} [options] */
      constructor(title, options) {
        super(title, options);
        records.shown.push([title, options?.body]);
        /** @type {any} */ (globalThis).newest = this;
      }
      close() {
        records.closed++;
        super.close();
      }
    };
  }
  const { start } = OscillatorNode.prototype;
  OscillatorNode.prototype.start = function (...time) {
    records.tones++;
    return start.apply(this, time);
  };
}

/** @param {import("playwright-core").Page} page @returns {Promise<{shown: any[], closed: number, tones: number}>} */
const recordsOf = (page) => page.evaluate("records");

/** @param {import("playwright-core").Page} page */
async function openSettings(page) {
  await page.getByRole("button", { name: "Settings" }).click();
  return page.getByRole("dialog", { name: "Settings" });
}

/** @param {import("playwright-core").Page} page */
const icon = (page) => page.evaluate(() => /** @type {HTMLLinkElement} */ (document.querySelector("link[rel=icon]")).href);

/** @type {import("../run.mjs").Scenario[]} */
export const alerts = [
  [
    "One of two tabs shows and sounds a message once the user wants it, and takes it back when it is read",
    async ({ newPerson, ann, password, run, screenshot }) => {
      const person = await newPerson("cas", { before: recordAlerts });
      const { page, context } = person;
      await person.signUp(password);
      await ann.page.getByRole("button", { name: "New private conversation" }).click();
      const dialog = ann.page.getByRole("dialog");
      await dialog.getByRole("checkbox", { name: person.name }).check();
      await dialog.getByRole("button", { name: "Start" }).click();
      // The other may hear of the conversation before Ann's page shows it.
      await ann.page.getByRole("heading", { level: 1, name: person.name }).waitFor();
      await person.channel(ann.name).waitFor();

      // Without the choice, only the sound.
      await ann.send(`First, ${run}`);
      await page.waitForFunction(() => /** @type {any} */ (globalThis).records.tones === 2);
      assert.deepEqual((await recordsOf(page)).shown, []);
      await page.waitForFunction(() => document.title.startsWith("(1) "));
      assert.match(await icon(page), /%3E1%3C/);

      await context.grantPermissions(["notifications"]);
      const settings = await openSettings(page);
      await settings.getByRole("switch", { name: "Desktop notifications" }).click();
      await settings.getByRole("switch", { name: "Desktop notifications", checked: true }).waitFor();
      // The track that shows the state has a size.
      assert.equal(await settings.getByRole("switch", { name: "Desktop notifications" }).locator(".track").evaluate((each) => each.clientWidth), 36);
      await screenshot(person, "settings");
      await page.keyboard.press("Escape");
      const other = await context.newPage();
      person.watch(other);
      await other.goto(person.url);
      await person.waitUntilSignedIn(other);
      // A browser is silent in a page without a click.
      await other.locator(".server").click();
      await ann.send(`Second, ${run}: ||who||`);
      await Promise.race([page, other].map((each) => each.waitForFunction(() => /** @type {any} */ (globalThis).records.shown.length)));
      const tones = async () => (await Promise.all([page, other].map(recordsOf))).reduce((sum, each) => sum + each.tones, 0);
      await until(tones, 4);
      // The other tab would be about as late.
      await page.waitForTimeout(1_500);
      const [first, second] = await Promise.all([page, other].map(recordsOf));
      assert.deepEqual([...first.shown, ...second.shown], [[ann.name, `Second, ${run}: [spoiler]`]]);
      assert.equal(first.tones + second.tones, 4);

      const alerted = first.shown.length ? page : other;
      await alerted.evaluate("newest.onclick()");
      await alerted.getByRole("heading", { level: 1, name: ann.name }).waitFor();
      await page.waitForFunction(() => !document.title.startsWith("("));
      assert.doesNotMatch(await icon(page), /%3E\d%3C/);

      // A visible tab shows the channel.
      await alerted.bringToFront();
      await ann.send(`Third, ${run}`);
      await alerted.locator(".message .text", { hasText: `Third, ${run}` }).waitFor();
      await page.waitForTimeout(2_000);
      assert.equal((await Promise.all([page, other].map(recordsOf))).flatMap(({ shown }) => shown).length, 1);
      assert.deepEqual(person.errors, []);
      await person.close();
    },
  ],
  [
    "The settings say why desktop notifications cannot be turned on, and the sound can be off",
    async ({ newPerson, password }) => {
      for (const [name, before, words] of /** @type {const} */ ([
        ["blocked", () => (Notification.requestPermission = async () => (Object.defineProperty(Notification, "permission", { get: () => "denied" }), "denied")), /blocks notifications/],
        ["without", () => void Reflect.deleteProperty(globalThis, "Notification"), /They need HTTPS/],
      ])) {
        const person = await newPerson(name, { before });
        await person.signUp(password);
        const settings = await openSettings(person.page);
        const desktop = settings.getByRole("switch", { name: "Desktop notifications" });
        await desktop.click();
        await settings.getByText(words).waitFor();
        assert.equal(await desktop.getAttribute("aria-checked"), "false");
        const sound = settings.getByRole("switch", { name: "Sound" });
        await sound.click();
        const silent = settings.getByRole("switch", { name: "Sound", checked: false });
        await silent.waitFor();
        await person.page.reload();
        await person.waitUntilSignedIn();
        await openSettings(person.page);
        await silent.waitFor();
        assert.deepEqual(person.errors, []);
        await person.close();
      }
    },
  ],
];
