// The language and the theme, which follow the browser until a user chooses.
import assert from "node:assert/strict";

/** Records every text that the page shows in its first heading, from the first frame on. */
function recordHeadings() {
  const headings = /** @type {any} */ (globalThis).headings = /** @type {string[]} */ ([]);
  new MutationObserver(() => {
    const text = document.querySelector("h1")?.textContent;
    if (text && text !== headings.at(-1)) headings.push(text);
  }).observe(document, { childList: true, subtree: true, characterData: true });
}

/** @param {import("playwright-core").Page} page */
const background = (page) => page.evaluate(() => getComputedStyle(document.body).backgroundColor);

/** @type {import("../run.mjs").Scenario[]} */
export const settings = [
  [
    "A Korean browser gets Korean from the first view, a choice changes all tabs at once, and a reload keeps it",
    async ({ newPerson, password, run }) => {
      const person = await newPerson("korean", { locale: "ko-KR", before: recordHeadings });
      const { page, context } = person;
      await page.getByRole("heading", { name: "다시 만나서 반가워요" }).waitFor();
      assert.deepEqual(await page.evaluate("headings"), ["다시 만나서 반가워요"]);
      assert.equal(await page.evaluate(() => document.documentElement.lang), "ko");
      await page.getByLabel("사용자 이름").fill(person.name);
      await page.getByLabel("비밀번호").fill("wrong");
      await page.getByRole("button", { name: "로그인", exact: true }).click();
      await page.getByText("사용자 이름이나 비밀번호가 맞지 않아요.").waitFor();

      await page.getByLabel("언어").selectOption("English");
      await page.getByRole("heading", { name: "Welcome back" }).waitFor();
      await page.reload();
      await page.getByRole("heading", { name: "Welcome back" }).waitFor();
      assert.deepEqual(await page.evaluate("headings"), ["Welcome back"]);
      await person.signUp(password);

      const other = await context.newPage();
      person.watch(other);
      await other.goto(person.url);
      await person.waitUntilSignedIn(other);
      await page.bringToFront();
      await page.getByRole("button", { name: "Settings" }).focus();
      await page.keyboard.press("Enter");
      await page.getByRole("dialog", { name: "Settings" }).getByLabel("Language").selectOption("한국어");
      await page.getByRole("dialog", { name: "설정" }).waitFor();
      await page.keyboard.press("Escape");
      assert.equal(await page.evaluate(() => document.activeElement?.getAttribute("aria-label")), "설정");
      await other.getByRole("button", { name: "설정" }).waitFor();
      await person.send(`안녕하세요, ${run}`);
      const time = page.locator(".message", { hasText: `안녕하세요, ${run}` }).locator("header time");
      assert.match(await time.innerText(), /^오[전후] \d{1,2}:\d\d$/);
      assert.deepEqual(person.errors, []);
      await person.close();
    },
  ],
  [
    "The colours follow the system, or the theme that the user chose",
    async ({ ann }) => {
      const { page } = ann;
      const dark = await background(page);
      await page.emulateMedia({ colorScheme: "light" });
      const light = await background(page);
      assert.notEqual(light, dark);
      await page.getByRole("button", { name: "Settings" }).click();
      await page.getByRole("dialog").getByLabel("Theme").selectOption("Dark");
      assert.equal(await background(page), dark);
      await page.reload();
      await ann.waitUntilSignedIn();
      assert.equal(await background(page), dark);
      await page.getByRole("button", { name: "Settings" }).click();
      await page.getByRole("dialog").getByLabel("Theme").selectOption("As the system");
      assert.equal(await background(page), light);
      await page.emulateMedia({ colorScheme: "dark" });
      assert.equal(await background(page), dark);
      await page.keyboard.press("Escape");
    },
  ],
];
