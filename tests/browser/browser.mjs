// One user's browser: a Chromium with its own profile, and the actions and checks of that user.
import assert from "node:assert/strict";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";

const FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];
const TIMEOUT_MS = 20_000;

export class Person {
  /**
   * @param {string} name
   * @param {string} url
   * @param {import("playwright-core").BrowserContextOptions & {before?: () => void}} [options] `before` runs in each
   *   page before its scripts
   */
  static async open(name, url, { before, ...options } = {}) {
    const profile = await mkdtemp(join(tmpdir(), "discodeit-browser-"));
    const context = await chromium.launchPersistentContext(profile, {
      executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
      headless: true,
      args: FLAGS,
      viewport: { width: 1360, height: 850 },
      colorScheme: "dark",
      locale: "en-GB",
      // Playwright does not see the requests of pages that have one; installable.mjs allows it.
      serviceWorkers: "block",
      ...options,
    });
    context.setDefaultTimeout(TIMEOUT_MS);
    if (before) await context.addInitScript(before);
    const person = new Person(name, url, profile, context);
    person.page = context.pages()[0] ?? (await context.newPage());
    person.watch(person.page);
    await person.page.goto(url);
    return person;
  }

  /**
   * @param {string} name @param {string} url @param {string} profile
   * @param {import("playwright-core").BrowserContext} context
   */
  constructor(name, url, profile, context) {
    this.name = name;
    this.url = url;
    this.profile = profile;
    this.context = context;
    /** @type {import("playwright-core").Page} */
    this.page = /** @type {any} */ (undefined);
    /** Uncaught errors of the page. @type {string[]} */
    this.errors = [];
    /** Nodes that answered this browser. @type {Set<string>} */
    this.nodes = new Set();
  }

  /** @param {import("playwright-core").Page} page */
  watch(page) {
    page.on("pageerror", (error) => this.errors.push(String(error)));
    page.on("console", (line) => {
      if (/Content Security Policy|Uncaught/.test(line.text())) this.errors.push(line.text());
    });
    page.on("response", (response) => {
      const node = response.headers()["discodeit-node"];
      if (node) this.nodes.add(node);
    });
  }

  /** Waits until an image is present and decoded. @param {import("playwright-core").Locator} image an img element */
  static async waitForPicture(image) {
    await image.waitFor();
    await image.evaluate((element) => /** @type {HTMLImageElement} */ (element).decode());
  }

  /** Stops the whole browser, as a sleeping computer does, and lets it go on. @param {number} ms */
  async sleep(ms) {
    const group = -(await this.#process());
    process.kill(group, "SIGSTOP");
    await new Promise((resolve) => setTimeout(resolve, ms));
    process.kill(group, "SIGCONT");
  }

  /** The browser's first process, which leads the group of all. */
  async #process() {
    for (const id of (await readdir("/proc")).filter((each) => /^\d+$/.test(each))) {
      const line = await readFile(`/proc/${id}/cmdline`, "latin1").catch(() => "");
      if (line.includes(`--user-data-dir=${this.profile}`) && !line.includes("--type=")) return Number(id);
    }
    throw new Error(`no process of ${this.profile}`);
  }

  async close() {
    // A handler of a request that is still under way would fail with the browser, and end the run.
    for (const page of this.context.pages()) await page.unrouteAll({ behavior: "ignoreErrors" });
    await this.context.unrouteAll({ behavior: "ignoreErrors" });
    await this.context.close();
    await rm(this.profile, { recursive: true, force: true });
  }

  /** @param {string} password @param {Buffer} [picture] a PNG */
  async signUp(password, picture) {
    const { page } = this;
    await page.getByRole("button", { name: "Create an account" }).click();
    if (picture) {
      await page.locator("input[type=file]").setInputFiles([{ name: "me.png", mimeType: "image/png", buffer: picture }]);
      await page.getByRole("img", { name: "The chosen picture" }).waitFor();
    }
    await page.getByLabel("Username").fill(this.name);
    await page.getByLabel("Email").fill(`${this.name}@example.org`);
    await page.getByLabel("Password").fill(password);
    await page.getByRole("button", { name: "Create account" }).click();
    await this.waitUntilSignedIn();
  }

  /** @param {string} password */
  async signIn(password) {
    const { page } = this;
    await page.getByLabel("Username").fill(this.name);
    await page.getByLabel("Password").fill(password);
    await page.getByRole("button", { name: "Sign in", exact: true }).click();
  }

  async signOut() {
    await this.page.getByRole("button", { name: "Sign out" }).click();
    await this.waitUntilSignedOut();
  }

  /** @param {import("playwright-core").Page} [page] */
  async waitUntilSignedIn(page = this.page) {
    await page.locator(".user-panel", { hasText: this.name }).waitFor();
  }

  /** @param {import("playwright-core").Page} [page] */
  async waitUntilSignedOut(page = this.page) {
    await page.getByRole("heading", { name: "Welcome back" }).waitFor();
  }

  /** @param {string} name its name in the left column */
  channel(name) {
    return this.page.getByRole("navigation", { name: "Channels" }).getByRole("link", { name, exact: true });
  }

  /** @param {string} name */
  async openChannel(name) {
    await this.channel(name).click();
    await this.page.getByRole("heading", { level: 1, name, exact: true }).waitFor();
    await this.page.getByRole("log").waitFor();
  }

  /** Needs the role CHANNEL_MANAGER. @param {string} name @param {string} [description] */
  async createChannel(name, description = "") {
    await this.page.getByRole("button", { name: "Create channel" }).click();
    const dialog = this.page.getByRole("dialog");
    await dialog.getByLabel("Name").fill(name);
    await dialog.getByLabel("Description").fill(description);
    await dialog.getByRole("button", { name: "Create channel" }).click();
    await this.page.getByRole("heading", { level: 1, name, exact: true }).waitFor();
  }

  /** @param {string | RegExp} name of a control in the open channel's options @param {"button" | "radio"} [role] */
  async channelOption(name, role = "button") {
    await this.page.getByRole("button", { name: "Channel options" }).click();
    return this.page.getByRole("dialog", { name: "Channel options" }).getByRole(role, { name });
  }

  /** @param {string} text lines are separated with Shift+Enter */
  async send(text) {
    const box = this.page.locator(".composer textarea");
    for (const [index, line] of text.split("\n").entries()) {
      if (index) await box.press("Shift+Enter");
      await box.pressSequentially(line);
    }
    await box.press("Enter");
  }

  /** Waits until each message is shown. @param {...string} texts */
  async waitForMessages(...texts) {
    for (const text of texts) await this.message(text).first().waitFor();
  }

  /** @param {string} text */
  message(text) {
    return this.page.locator(".message .text").filter({ hasText: text });
  }

  /** The shown messages, from top to bottom. @returns {Promise<string[]>} */
  messageTexts() {
    return this.page.locator(".message .text").allInnerTexts();
  }

  /** Asserts that these messages are shown once each, in this order. @param {string[]} texts */
  async assertMessages(texts) {
    await this.waitForMessages(...texts);
    const wanted = new Set(texts);
    assert.deepEqual((await this.messageTexts()).filter((text) => wanted.has(text)), texts);
  }

  /** Waits until no own message is pending, and asserts that none failed. */
  async waitUntilSent() {
    await this.page.locator(".message.pending").first().waitFor({ state: "detached" });
    assert.equal(await this.page.locator(".message.failed").count(), 0);
  }
}
