// What an administrator and a channel manager do in the app.
import assert from "node:assert/strict";
import { apiOf, Refused } from "../api.mjs";

/** @typedef {import("../browser.mjs").Person} Person */

/** @param {Person} admin */
async function openAdministration(admin) {
  await admin.page.getByRole("button", { name: "Administration" }).click();
  const dialog = admin.page.getByRole("dialog", { name: "Administration" });
  await dialog.waitFor();
  return dialog;
}

/** @param {import("playwright-core").Locator} dialog @param {string} name */
async function openPerson(dialog, name) {
  await dialog.getByRole("searchbox").fill(name);
  await dialog.getByText("1 person").waitFor();
  await dialog.getByRole("button", { name }).click();
  await dialog.getByRole("button", { name: "All people" }).waitFor();
}

/** @type {import("../run.mjs").Scenario[]} */
export const administration = [
  [
    "An administrator finds somebody, gives a role, and that person reads the new role after signing in",
    async ({ admin, newPerson, bensProxy, password, screenshot }) => {
      const lea = await newPerson("lea", { url: bensProxy.url });
      await lea.signUp(password);
      assert.equal(await lea.page.getByRole("button", { name: "Administration" }).count(), 0);
      const dialog = await openAdministration(admin);
      await dialog.getByRole("searchbox").fill("nobody of that name");
      await dialog.getByText("0 people").waitFor();
      await dialog.getByRole("searchbox").fill("");
      await screenshot(admin, "administration");
      await openPerson(dialog, lea.name);
      const member = dialog.getByRole("radio", { name: /^Member/ });
      const manager = dialog.getByRole("radio", { name: /^Channel manager/ });
      assert.equal(await member.isChecked(), true);
      await manager.check();
      await dialog.getByText(`A new role signs ${lea.name} out everywhere.`).waitFor();
      await screenshot(admin, "administration-person");
      await dialog.getByRole("button", { name: "Change role" }).click();
      await dialog.getByRole("button", { name: "Change role" }).waitFor({ state: "detached" });
      await admin.page.locator(".toast", { hasText: `The role of ${lea.name} is now: Channel manager.` }).waitFor();
      await lea.waitUntilSignedOut();
      await lea.page.getByLabel("Password").fill(password);
      await lea.page.getByRole("button", { name: "Sign in", exact: true }).click();
      await lea.waitUntilSignedIn();
      await lea.page.getByText("Your role is now Channel manager.").waitFor();
      await lea.page.getByRole("button", { name: "Create channel" }).waitFor();
      await dialog.getByRole("button", { name: "All people" }).click();
      await dialog.getByRole("button", { name: lea.name }).getByText("Channel manager").waitFor();
      await dialog.getByRole("button", { name: "Close" }).click();
      await lea.close();
    },
  ],
  [
    "An administrator deletes an account after a question, and its owner is signed out",
    async ({ admin, ann, newPerson, base, password, channel }) => {
      const max = await newPerson("max");
      await Promise.all([ann.openChannel(channel), max.signUp(password)]);
      await ann.page.locator(".member", { hasText: max.name }).waitFor();
      const dialog = await openAdministration(admin);
      await openPerson(dialog, max.name);
      await dialog.getByRole("button", { name: "Delete account" }).click();
      await dialog.getByText(`Delete the account of ${max.name}?`).waitFor();
      await dialog.getByRole("button", { name: "Cancel" }).click();
      await dialog.getByRole("button", { name: "Delete account" }).click();
      await dialog.getByRole("button", { name: "Delete account" }).click();
      await dialog.getByText("0 people").waitFor();
      await max.waitUntilSignedOut();
      await ann.page.locator(".member", { hasText: max.name }).waitFor({ state: "detached" });
      await assert.rejects(apiOf(base.href, max.name, password), (error) => error instanceof Refused && error.status === 401);
      await dialog.getByRole("button", { name: "Close" }).click();
      await max.close();
    },
  ],
  [
    "A refusal of the server stands in the dialog: the last administrator stays one",
    async ({ admin }) => {
      const { page } = admin;
      const dialog = await openAdministration(admin);
      await openPerson(dialog, `${admin.name}@`);
      assert.equal(await dialog.getByRole("button", { name: "Delete account" }).count(), 0);
      const message = "The last administrator can be neither deleted nor given another role.";
      const problem = { code: "LAST_ADMIN", message, details: {}, status: 409 };
      // Other runs may have administrators in this system, and then the server would do it.
      await page.route("**/api/auth/role", (route) => route.fulfill({ status: 409, json: problem }));
      await dialog.getByRole("radio", { name: /^Member/ }).check();
      await dialog.getByText("A new role signs you out everywhere.").waitFor();
      await dialog.getByRole("button", { name: "Change role" }).click();
      await dialog.getByText(message).waitFor();
      await dialog.getByText("First make somebody else an administrator.").waitFor();
      await dialog.getByRole("button", { name: "Cancel" }).click();
      assert.equal(await dialog.getByRole("radio", { name: /^Administrator/ }).isChecked(), true);
      await page.unroute("**/api/auth/role");
      await dialog.getByRole("button", { name: "Close" }).click();
    },
  ],
];
