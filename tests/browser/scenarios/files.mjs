import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Person } from "../browser.mjs";
import { noise, png } from "../png.mjs";

const MIB = 1024 * 1024;

/** @param {string} name @param {Buffer} buffer @param {string} [mimeType] */
const file = (name, buffer, mimeType = "application/octet-stream") => ({ name, mimeType, buffer });

/**
 * Writes a file to disk, because it is too large for a message to the browser.
 *
 * @param {string} name @param {number} size @param {(path: string) => Promise<void>} use
 */
async function onDisk(name, size, use) {
  const folder = await mkdtemp(join(tmpdir(), "discodeit-upload-"));
  try {
    await writeFile(join(folder, name), Buffer.alloc(size, 7));
    await use(join(folder, name));
  } finally {
    await rm(folder, { recursive: true });
  }
}

/**
 * Simulates a drop or a paste of files.
 *
 * @param {Person} person @param {"drop" | "paste" | "dragover"} how @param {ReturnType<typeof file>[]} files
 */
function transfer(person, how, files) {
  const plain = files.map(({ name, mimeType, buffer }) => ({ name, mimeType, base64: buffer.toString("base64") }));
  return person.page.locator(".composer textarea").evaluate(
    (area, [kind, all]) => {
      const transfer = new DataTransfer();
      for (const { name, mimeType, base64 } of all) {
        const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
        transfer.items.add(new File([bytes], name, { type: mimeType }));
      }
      const init = { bubbles: true, cancelable: true };
      if (kind === "paste") area.dispatchEvent(new ClipboardEvent("paste", { ...init, clipboardData: transfer }));
      else area.dispatchEvent(new DragEvent(kind, { ...init, dataTransfer: transfer }));
    },
    /** @type {[string, typeof plain]} */ ([how, plain]),
  );
}

/** @param {Person} person */
const input = (person) => person.page.locator(".composer input[type=file]");
/** @param {Person} person */
const tray = (person) => person.page.getByRole("list", { name: "Files to send" });
/** @param {Person} person @param {string} text */
const row = (person, text) => person.page.locator(".message").filter({ hasText: text });

/** @type {import("../run.mjs").Scenario[]} */
export const files = [
  [
    "Chosen, pasted and dropped files are listed, can be removed, and are rejected with a message when too large",
    async ({ ann, channel, screenshot }) => {
      await ann.openChannel(channel);
      const { page } = ann;
      await page.getByRole("button", { name: "Attach files" }).waitFor();
      await input(ann).setInputFiles([
        file("회의록 2026 — 최종 (수정본) 아주 긴 이름의 문서.pdf", Buffer.from("%PDF-1.4 minutes"), "application/pdf"),
        file("unwanted.txt", Buffer.from("not this one"), "text/plain"),
      ]);
      await transfer(ann, "paste", [file("image.png", png(320, 200), "image/png")]);
      await transfer(ann, "dragover", [file("any.txt", Buffer.from("x"), "text/plain")]);
      await page.getByText("Drop files to attach them").waitFor();
      await transfer(ann, "drop", [file("写真.png", png(200, 320, 60), "image/png")]);
      await page.getByText("Drop files to attach them").waitFor({ state: "detached" });
      assert.equal(await tray(ann).getByRole("listitem").count(), 4);
      await tray(ann).getByRole("button", { name: "Remove unwanted.txt" }).click();
      assert.equal(await tray(ann).getByRole("listitem").count(), 3);
      await onDisk("huge.bin", 10 * MIB + 1, async (path) => {
        await input(ann).setInputFiles(path);
        await page.getByRole("alert").getByText("“huge.bin” is too large: a file can have 10 MB at most.").waitFor();
      });
      assert.equal(await tray(ann).getByRole("listitem").count(), 3);
      await screenshot(ann, "files-tray");
      await page.locator(".composer textarea").fill("With three files");
    },
  ],
  [
    "Sent files appear live for both: pictures without layout shift, one in the lightbox, and others as unchanged downloads",
    async ({ ann, ben, channel, screenshot }) => {
      await ben.openChannel(channel);
      await ann.page.getByRole("button", { name: "Send", exact: true }).click();
      await ben.waitForMessages("With three files");
      // The row has its final height before the pictures load.
      const height = (/** @type {Person} */ person) => row(person, "With three files").evaluate((element) => element.clientHeight);
      const before = await height(ben);
      for (const person of [ann, ben]) {
        const pictures = row(person, "With three files").getByRole("button", { name: /^Open picture/ });
        await pictures.nth(1).and(person.page.locator(":enabled")).waitFor();
        for (const image of await pictures.locator("img").all()) await Person.waitForPicture(image);
      }
      assert.equal(await height(ben), before, "the row changed its height");
      await ann.waitUntilSent();
      await row(ann, "With three files").locator(".processing").first().waitFor({ state: "detached" });
      await screenshot(ben, "files");
      const opener = row(ben, "With three files").getByRole("button", { name: "Open picture image.png" });
      await opener.click();
      const lightbox = ben.page.getByRole("dialog", { name: "image.png" });
      await Person.waitForPicture(lightbox.getByRole("img", { name: "image.png" }));
      await ben.page.keyboard.press("ArrowRight");
      await Person.waitForPicture(ben.page.getByRole("img", { name: "写真.png" }));
      await screenshot(ben, "files-lightbox");
      await ben.page.keyboard.press("Escape");
      await ben.page.locator("dialog").waitFor({ state: "detached" });
      assert.ok(await opener.evaluate((element) => element === document.activeElement), "the focus returns");
      const [download] = await Promise.all([
        ben.page.waitForEvent("download"),
        row(ben, "With three files").getByRole("link", { name: /^Download 회의록/ }).click(),
      ]);
      assert.equal(download.suggestedFilename(), "회의록 2026 — 최종 (수정본) 아주 긴 이름의 문서.pdf");
      const chunks = [];
      for await (const chunk of await download.createReadStream()) chunks.push(chunk);
      assert.equal(Buffer.concat(chunks).toString(), "%PDF-1.4 minutes");
    },
  ],
  [
    "An upload shows progress; cancelling restores the draft, and a cut connection leads to one message",
    async ({ ben, ann, bensProxy, channel, screenshot }) => {
      await ben.openChannel(channel);
      const network = await ben.context.newCDPSession(ben.page);
      const speed = (/** @type {number} */ bytes) =>
        network.send("Network.emulateNetworkConditions", { offline: false, latency: 0, downloadThroughput: -1, uploadThroughput: bytes });
      await network.send("Network.enable");
      await speed(3 * MIB);
      await onDisk("large.bin", 6 * MIB, async (path) => {
        await input(ben).setInputFiles(path);
        await ben.page.locator(".composer textarea").fill("A large one");
        await ben.page.locator(".composer textarea").press("Enter");
        const bar = ben.page.getByRole("progressbar", { name: "Upload" });
        await ben.page.waitForFunction(() => Number(document.querySelector("[role=progressbar]")?.getAttribute("aria-valuenow")) > 5);
        await screenshot(ben, "files-upload");
        await row(ben, "A large one").getByRole("button", { name: "Cancel" }).click();
        await bar.waitFor({ state: "detached" });
        assert.equal(await ben.page.locator(".composer textarea").inputValue(), "A large one");
        await tray(ben).getByText("large.bin").waitFor();
        await ben.page.getByRole("button", { name: "Send", exact: true }).click();
        await bar.waitFor();
        bensProxy.cut();
        await speed(-1);
        await ben.page.waitForTimeout(300);
        bensProxy.restore();
        await ann.waitForMessages("A large one");
        await ben.waitUntilSent();
        await row(ann, "A large one").getByRole("link", { name: /^Download large\.bin, 6 MB/ }).waitFor();
        assert.equal(await ann.message("A large one").count(), 1);
      });
    },
  ],
  [
    "A rejected upload stays with the reason and can be edited as a draft",
    async ({ ann, channel }) => {
      await ann.openChannel(channel);
      const { page } = ann;
      const problem = { code: "PAYLOAD_TOO_LARGE", message: "The request is too large.", details: {}, status: 413 };
      await page.route("**/api/messages", (route) => route.fulfill({ status: 413, json: problem }));
      await input(ann).setInputFiles([file("note.txt", Buffer.from("a note"), "text/plain")]);
      await page.getByRole("button", { name: "Send", exact: true }).click();
      const failure = page.locator(".message.failed");
      await failure.getByText("Not sent. The request is too large.").waitFor();
      await page.unroute("**/api/messages");
      await failure.getByRole("button", { name: "Edit" }).click();
      await failure.waitFor({ state: "detached" });
      await tray(ann).getByRole("button", { name: "Remove note.txt" }).click();
      await tray(ann).waitFor({ state: "detached" });
    },
  ],
  [
    "A new profile picture is scaled down and appears live for all users, beside name and messages",
    async ({ ann, ben, channel, screenshot }) => {
      await Promise.all([ann.openChannel(channel), ben.openChannel(channel)]);
      await ann.send("새 사진 보여 줘요.");
      await ben.waitForMessages("새 사진 보여 줘요.");
      await ben.send("사진 어때요? 📷");
      await ben.page.getByRole("button", { name: /your profile/ }).click();
      const dialog = ben.page.getByRole("dialog", { name: "Your profile" });
      await dialog.locator("input[type=file]").setInputFiles([file("large.png", noise(1400, 900), "image/png")]);
      await dialog.getByRole("img", { name: "The chosen picture" }).waitFor();
      await screenshot(ben, "profile");
      await dialog.getByRole("button", { name: "Save" }).click();
      await dialog.waitFor({ state: "detached" });
      const focused = await ben.page.evaluate(() => document.activeElement?.textContent);
      assert.match(focused ?? "", /your profile$/, "the focus returns");
      for (const person of [ann, ben]) {
        const members = person.page.getByRole("complementary", { name: "Members" });
        const face = members.locator(".member", { hasText: ben.name }).locator("img.face");
        await Person.waitForPicture(face);
        assert.equal(await face.evaluate((image) => /** @type {HTMLImageElement} */ (image).naturalWidth), 320);
        await Person.waitForPicture(row(person, "사진 어때요?").locator(".avatar img"));
      }
    },
  ],
];
