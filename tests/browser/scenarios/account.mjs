// One's own account: password, devices, picture, deletion.
import assert from "node:assert/strict";
import { apiOf, Refused } from "../api.mjs";
import { Person } from "../browser.mjs";
import { png } from "../png.mjs";

/** @param {Person} person @param {string} name of a dialog */
const dialogOf = (person, name) => person.page.getByRole("dialog", { name });

/** @param {Person} person @param {string} [link] in the dialog */
async function openProfile(person, link) {
  await person.page.getByRole("button", { name: /your profile/ }).click();
  const dialog = dialogOf(person, "Your profile");
  await dialog.waitFor();
  if (link) await dialog.getByRole("button", { name: link }).click();
  return dialog;
}

/** @param {string} base @param {string} username @param {string} password */
async function assertWrongPassword(base, username, password) {
  const signingIn = apiOf(base, username, password);
  await assert.rejects(signingIn, (error) => error instanceof Refused && error.status === 401);
}

/** @type {import("../run.mjs").Scenario[]} */
export const account = [
  [
    "A new password needs the current one, and signs out the other devices with a reason",
    async ({ newPerson, base, bensProxy, password, run, screenshot }) => {
      const hana = await newPerson("hana");
      await hana.signUp(password);
      const phone = await Person.open(hana.name, bensProxy.url);
      await phone.signIn(password);
      await phone.waitUntilSignedIn();
      await openProfile(hana, "Change password");
      const dialog = dialogOf(hana, "Change password");
      const current = dialog.getByLabel("Current password");
      await current.fill("certainly wrong");
      await dialog.getByLabel("New password").fill(`new-${run}`);
      await dialog.getByRole("button", { name: "Change password" }).click();
      await dialog.getByText("Current password is wrong.").waitFor();
      await screenshot(hana, "account-password");
      assert.equal(await current.evaluate((element) => element === document.activeElement), true);
      await current.fill(password);
      await dialog.getByRole("button", { name: "Change password" }).click();
      await dialog.waitFor({ state: "detached" });
      await hana.page.locator(".toast", { hasText: "Your password has been changed." }).waitFor();
      await phone.waitUntilSignedOut();
      const notice = phone.page.getByText("Your password was changed. Please sign in with the new one.");
      await notice.waitFor();
      await phone.page.reload();
      await notice.waitFor();
      await hana.page.reload();
      await hana.waitUntilSignedIn();
      await assertWrongPassword(base.href, hana.name, password);
      await apiOf(base.href, hana.name, `new-${run}`);
      await phone.close();
      await hana.close();
    },
  ],
  [
    "A server that wants the current password has its words at that field",
    async ({ ann, run }) => {
      const { page } = ann;
      await openProfile(ann, "Change password");
      const dialog = dialogOf(ann, "Change password");
      const message = "The current password is required.";
      const problem = { code: "REAUTHENTICATION_REQUIRED", message, details: {}, status: 403 };
      await page.route("**/api/users/*", (route) => route.fulfill({ status: 403, json: problem }));
      await dialog.getByLabel("Current password").fill("anything");
      await dialog.getByLabel("New password").fill(`new-${run}`);
      await dialog.getByRole("button", { name: "Change password" }).click();
      await dialog.getByText(message).waitFor();
      assert.equal(await dialog.getByLabel("Current password").getAttribute("aria-invalid"), "true");
      await page.unroute("**/api/users/*");
      await dialog.getByRole("button", { name: "Cancel" }).click();
    },
  ],
  [
    "The devices are listed; one, or all others, can be signed out",
    async ({ newPerson, base, bensProxy, password, screenshot }) => {
      const iris = await newPerson("iris");
      await iris.signUp(password);
      const others = await Promise.all([1, 2].map(() => Person.open(iris.name, bensProxy.url)));
      for (const other of others) {
        await other.signIn(password);
        await other.waitUntilSignedIn();
      }
      const third = await apiOf(base.href, iris.name, password);
      await openProfile(iris, "Devices");
      const dialog = dialogOf(iris, "Devices");
      const rows = dialog.getByRole("listitem");
      await rows.nth(3).waitFor();
      assert.equal(await dialog.getByText("This device").count(), 1);
      await screenshot(iris, "account-devices");
      const chrome = dialog.getByRole("button", { name: "Sign out Chrome, Linux" });
      assert.equal(await chrome.count(), 2);
      await chrome.first().click();
      await rows.nth(3).waitFor({ state: "detached" });
      await Promise.any(others.map((other) => other.waitUntilSignedOut()));
      await third.get("/users");
      await dialog.getByRole("button", { name: "Sign out all others" }).click();
      await rows.nth(1).waitFor({ state: "detached" });
      await Promise.all(others.map((other) => other.waitUntilSignedOut()));
      await others[0].page.getByText("signed out from another device").waitFor();
      await assert.rejects(third.get("/users"), (error) => error instanceof Refused && error.status === 401);
      await dialog.getByRole("button", { name: "Close" }).last().click();
      await iris.page.reload();
      await iris.waitUntilSignedIn();
      for (const each of [...others, iris]) await each.close();
    },
  ],
  [
    "A profile picture can be removed, for all to see",
    async ({ ann, newPerson, password, channel }) => {
      await ann.openChannel(channel);
      const jay = await newPerson("jay");
      await jay.signUp(password, png(96, 96));
      const row = ann.page.locator(".member", { hasText: jay.name });
      await Person.waitForPicture(row.locator("img.face"));
      const dialog = await openProfile(jay);
      await dialog.getByRole("button", { name: "Remove" }).click();
      await dialog.locator("img.face").waitFor({ state: "detached" });
      await dialog.getByRole("button", { name: "Undo" }).click();
      await dialog.locator("img.face").waitFor();
      await dialog.getByRole("button", { name: "Remove" }).click();
      await dialog.getByRole("button", { name: "Save" }).click();
      await dialog.waitFor({ state: "detached" });
      await row.locator("img.face").waitFor({ state: "detached" });
      await jay.close();
    },
  ],
  [
    "An account that its owner deletes is gone for all, and its messages stay without a name",
    async ({ ann, newPerson, base, password, channel, screenshot }) => {
      const kim = await newPerson("kim");
      await kim.signUp(password);
      await Promise.all([ann.openChannel(channel), kim.openChannel(channel)]);
      await kim.send("I will be gone.");
      await ann.waitForMessages("I will be gone.");
      await kim.page.locator(".composer textarea").fill("never sent");
      await openProfile(kim, "Delete account");
      const dialog = dialogOf(kim, "Delete your account?");
      const button = dialog.getByRole("button", { name: "Delete account" });
      assert.equal(await button.isDisabled(), true);
      await dialog.getByLabel("Your username, to confirm").fill(kim.name);
      await screenshot(kim, "account-delete");
      await button.click();
      await kim.waitUntilSignedOut();
      await kim.page.getByText("Your account has been deleted.").waitFor();
      const kept = await kim.page.evaluate(() => Object.keys(localStorage).filter((key) => /draft|outbox|companions/.test(key)));
      assert.deepEqual(kept, []);
      await ann.page.locator(".member", { hasText: kim.name }).waitFor({ state: "detached" });
      await assertWrongPassword(base.href, kim.name, password);
      await ann.page.reload();
      const row = ann.page.locator(".message").filter({ hasText: "I will be gone." });
      await row.getByText("Deleted user").first().waitFor();
      await kim.close();
    },
  ],
  [
    "The last administrator cannot delete the account, and reads what to do first",
    async ({ admin }) => {
      const { page } = admin;
      const message = "The last administrator can be neither deleted nor given another role.";
      const problem = { code: "LAST_ADMIN", message, details: {}, status: 409 };
      // Nobody else may be an administrator, which a test of a shared system cannot bring about.
      await page.route("**/api/users/*", (route) => route.fulfill({ status: 409, json: problem }));
      await openProfile(admin, "Delete account");
      const dialog = dialogOf(admin, "Delete your account?");
      await dialog.getByLabel("Your username, to confirm").fill(admin.name);
      await dialog.getByRole("button", { name: "Delete account" }).click();
      await dialog.getByText(message).waitFor();
      await dialog.getByText("First make somebody else an administrator").waitFor();
      await page.unroute("**/api/users/*");
      await dialog.getByRole("button", { name: "Cancel" }).click();
    },
  ],
];
