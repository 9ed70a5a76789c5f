// Cards of people, their presence, and the removal from a conversation.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { apiOf, signUp } from "../api.mjs";

/** @typedef {import("../browser.mjs").Person} Person */

/** @param {Person} person */
const card = (person) => person.page.getByRole("dialog", { name: "Profile", exact: true });
/** @param {Person} person @param {string} name */
const member = (person, name) => person.page.getByRole("complementary", { name: "Members" }).getByRole("button", { name });
/** @param {import("playwright-core").Locator} element */
const hasFocus = (element) => element.evaluate((each) => each === document.activeElement);

/** @type {import("../run.mjs").Scenario[]} */
export const people = [
  [
    "A click on an author's name opens a card with role and presence, from which a conversation begins",
    async ({ ann, ben, base, password, channel, run, screenshot }) => {
      await Promise.all([ann.openChannel(channel), ben.openChannel(channel)]);
      await ben.send(`Who am I? ${run}`);
      await ann.waitForMessages(`Who am I? ${run}`);
      const row = ann.page.locator(".message").filter({ hasText: `Who am I? ${run}` });
      const name = row.getByRole("button", { name: ben.name });
      await name.click();
      await card(ann).getByText("Member", { exact: true }).waitFor();
      await card(ann).getByText("Online", { exact: true }).waitFor();
      await screenshot(ann, "person-card");
      assert.equal(await card(ann).getByRole("button").count(), 1, "a member may only write to others");
      await ann.page.keyboard.press("Escape");
      await card(ann).waitFor({ state: "hidden" });
      assert.ok(await hasFocus(name), "the focus returns");
      await name.click();
      await card(ann).waitFor();
      await name.click();
      await card(ann).waitFor({ state: "hidden" });
      // Somebody with whom there is no conversation yet.
      const uma = await signUp(base.href, `uma-${run}`, password);
      const { id } = /** @type {any} */ ((await uma.channels()).find((each) => each.name === channel));
      await uma.post(id, `New here ${run}`);
      const news = ann.page.locator(".message").filter({ hasText: `New here ${run}` });
      await news.locator(".gutter [data-person]").click();
      await card(ann).getByRole("button", { name: "Message" }).click();
      const dialog = ann.page.getByRole("dialog", { name: "New private conversation" });
      await dialog.getByText("1 chosen").waitFor();
      await dialog.getByRole("button", { name: "Cancel" }).click();
      await member(ann, ann.name).click();
      await card(ann).getByRole("button", { name: "Your profile" }).click();
      await ann.page.getByRole("dialog", { name: "Your profile" }).getByRole("button", { name: "Cancel" }).click();
    },
  ],
  [
    "The mouse that rests on a name opens the card without taking the focus, and so does Tab",
    async ({ ann, ben, channel }) => {
      await ann.openChannel(channel);
      const { page } = ann;
      const box = page.locator(".composer textarea");
      await box.focus();
      await member(ann, ben.name).hover();
      await card(ann).getByText(ben.name).waitFor();
      assert.ok(await hasFocus(box));
      await card(ann).hover();
      await page.waitForTimeout(600);
      assert.ok(await card(ann).isVisible(), "the mouse may go to the card");
      await page.mouse.move(600, 400);
      await card(ann).waitFor({ state: "hidden" });
      await page.getByRole("button", { name: "Members", exact: true }).focus();
      await page.mouse.move(600, 300);
      for (let tabs = 0; tabs < 80 && !(await hasFocus(member(ann, ben.name))); tabs++) await page.keyboard.press("Tab");
      await card(ann).getByText(ben.name).waitFor();
      assert.ok(await hasFocus(member(ann, ben.name)));
      await page.keyboard.press("Enter");
      await page.waitForFunction(() => document.activeElement?.classList.contains("person-card"));
      await page.keyboard.press("Escape");
      await card(ann).waitFor({ state: "hidden" });
      assert.ok(await hasFocus(member(ann, ben.name)));
    },
  ],
  [
    "A tap opens the card on a phone",
    async ({ ben, newPerson, base, password, channel, run, screenshot }) => {
      const noa = await newPerson("noa", { viewport: { width: 360, height: 740 }, hasTouch: true, isMobile: true });
      await signUp(base.href, noa.name, password);
      await noa.signIn(password);
      await noa.page.getByRole("button", { name: "Show channels" }).tap();
      await noa.channel(channel).tap();
      await noa.waitForMessages(`Who am I? ${run}`);
      const row = noa.page.locator(".message").filter({ hasText: `Who am I? ${run}` });
      await row.getByRole("button", { name: ben.name }).tap();
      await card(noa).getByRole("button", { name: "Message" }).waitFor();
      await screenshot(noa, "person-card-phone");
      const wide = await noa.page.evaluate(() => document.documentElement.scrollWidth > innerWidth);
      assert.equal(wide, false, "the page scrolls sideways");
      await noa.close();
    },
  ],
  [
    "Of a thousand people, the list of members shows 200, and more at each press of the button",
    async ({ newPerson, password, channel, screenshot }) => {
      const vic = await newPerson("vic");
      const thousand = Array.from({ length: 1000 }, (_, at) => {
        const username = `crowd ${at + 1}`;
        return { id: randomUUID(), username, email: `crowd${at + 1}@example.org`, profile: null, online: false, role: "USER" };
      });
      await vic.page.route((url) => url.pathname === "/api/users", async (route) => {
        if (route.request().method() !== "GET") return route.fallback();
        const ids = new URL(route.request().url()).searchParams.get("ids");
        const response = await route.fetch();
        await route.fulfill({ response, json: [...(await response.json()), ...thousand.filter(({ id }) => !ids || ids.includes(id))] });
      });
      await vic.signUp(password);
      await vic.openChannel(channel);
      const offline = vic.page.locator(".members section").filter({ has: vic.page.getByRole("heading", { name: /^Offline — 1,\d{3}$/ }) });
      const more = offline.getByRole("button", { name: "Show more" });
      await more.waitFor();
      assert.equal(await offline.locator(".member").count(), 200);
      await more.scrollIntoViewIfNeeded();
      await screenshot(vic, "members-many");
      await more.click();
      await offline.locator(".member").nth(399).waitFor();
      assert.equal(await offline.locator(".member").count(), 400);
      assert.ok(await hasFocus(more), "the focus stays");
      assert.deepEqual(vic.errors, []);
      await vic.close();
    },
  ],
  [
    "Who comes and goes is shown without reading all users again",
    async ({ ann, newPerson, bensProxy, password, channel }) => {
      await ann.openChannel(channel);
      const oda = await newPerson("oda", { url: bensProxy.url });
      await oda.signUp(password);
      // The system may have many people of earlier runs.
      const more = ann.page.locator(".members .more");
      while (await more.count()) await more.first().click();
      const row = ann.page.locator(".member", { hasText: oda.name });
      await row.locator(".avatar.online").waitFor();
      /** @type {string[]} */
      const lists = [];
      ann.page.on("request", (request) => {
        if (new URL(request.url()).pathname === "/api/users") lists.push(new URL(request.url()).search);
      });
      await oda.signOut();
      // The server waits 20 s for the client to come back.
      await row.locator(".avatar.offline").waitFor({ timeout: 40_000 });
      await oda.signIn(password);
      await row.locator(".avatar.online").waitFor();
      assert.ok(lists.length > 0);
      assert.deepEqual(lists.filter((query) => !query.startsWith("?ids=")), []);
      await oda.close();
    },
  ],
  [
    "A channel manager removes somebody from a conversation after a question, and everybody is told",
    async ({ ann, ben, admin, base, password, adminPassword, channel, run }) => {
      const [own, root, bens] = await Promise.all([
        apiOf(base.href, ann.name, password),
        apiOf(base.href, admin.name, adminPassword),
        apiOf(base.href, ben.name, password),
      ]);
      const { id } = await own.createPrivate([own.user.id, root.user.id, bens.user.id]);
      for (const person of [ann, ben, admin]) {
        const link = person.page.locator(`.sidebar a[href="#/channels/${id}"]`);
        await link.click();
        await link.and(person.page.locator("[aria-current]")).waitFor();
        await person.page.getByRole("log").waitFor();
      }
      await member(ann, ben.name).click();
      await card(ann).getByRole("button", { name: "Message" }).waitFor();
      assert.equal(await card(ann).getByRole("button", { name: "Remove from this conversation" }).count(), 0);
      await ann.page.keyboard.press("Escape");
      await member(admin, ben.name).click();
      await card(admin).getByRole("button", { name: "Remove from this conversation" }).click();
      const question = admin.page.getByRole("dialog", { name: `Remove ${ben.name} from this conversation?` });
      await question.getByText("unless somebody in it adds").waitFor();
      await question.getByRole("button", { name: "Remove" }).click();
      await ben.page.getByRole("heading", { name: "This conversation is gone" }).waitFor();
      await ann.page.locator(".toast", { hasText: `${ben.name} is no longer in this conversation.` }).waitFor();
      await member(ann, ben.name).waitFor({ state: "detached" });
      await root.deleteChannel(id);
      await Promise.all([ann, ben, admin].map((person) => person.openChannel(channel)));
      await signUp(base.href, `pia-${run}`, password).then(async (pia) => {
        const talk = /** @type {any} */ ((await pia.channels()).find(({ name }) => name === channel));
        await pia.post(talk.id, `Gone soon ${run}`);
        await ann.waitForMessages(`Gone soon ${run}`);
        await root.deleteUser(pia.user.id);
      });
      const row = ann.page.locator(".message").filter({ hasText: `Gone soon ${run}` });
      await row.locator(".author", { hasText: "Deleted user" }).waitFor();
    },
  ],
];
