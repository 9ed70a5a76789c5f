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
 * A file too large to be handed over in a message to the browser.
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
 * As if dropped on the window, or pasted.
 *
 * @param {Person} person @param {"drop" | "paste" | "dragover"} how @param {ReturnType<typeof file>[]} files
 */
function bring(person, how, files) {
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
    "Files chosen, pasted and dropped wait with their names, one can be taken out, and too large ones are refused in a sentence",
    async ({ ann, channel, picture }) => {
      await ann.enter(channel);
      const { page } = ann;
      await page.getByRole("button", { name: "Attach files" }).waitFor();
      await input(ann).setInputFiles([
        file("회의록 2026 — 최종 (수정본) 아주 긴 이름의 문서.pdf", Buffer.from("%PDF-1.4 minutes"), "application/pdf"),
        file("unwanted.txt", Buffer.from("not this one"), "text/plain"),
      ]);
      await bring(ann, "paste", [file("image.png", png(320, 200), "image/png")]);
      await bring(ann, "dragover", [file("any.txt", Buffer.from("x"), "text/plain")]);
      await page.getByText("Drop files to attach them").waitFor();
      await bring(ann, "drop", [file("写真.png", png(200, 320, 60), "image/png")]);
      await page.getByText("Drop files to attach them").waitFor({ state: "detached" });
      assert.equal(await tray(ann).getByRole("listitem").count(), 4);
      await tray(ann).getByRole("button", { name: "Remove unwanted.txt" }).click();
      assert.equal(await tray(ann).getByRole("listitem").count(), 3);
      await onDisk("huge.bin", 10 * MIB + 1, async (path) => {
        await input(ann).setInputFiles(path);
        await page.getByRole("alert").getByText("“huge.bin” is too large: a file can have 10 MB at most.").waitFor();
      });
      assert.equal(await tray(ann).getByRole("listitem").count(), 3);
      await picture(ann, "files-tray");
      await page.locator(".composer textarea").fill("With three files");
    },
  ],
  [
    "Sent, they are there for both, live: pictures without a jump, one opened large, and others downloaded unchanged",
    async ({ ann, ben, channel, picture }) => {
      await ben.enter(channel);
      await ann.page.getByRole("button", { name: "Send", exact: true }).click();
      await ben.sees("With three files");
      // From the first moment as high as in the end.
      const height = (/** @type {Person} */ who) => row(who, "With three files").evaluate((element) => element.clientHeight);
      const before = await height(ben);
      for (const who of [ann, ben]) {
        const pictures = row(who, "With three files").getByRole("button", { name: /^Open picture/ });
        await pictures.nth(1).and(who.page.locator(":enabled")).waitFor();
        for (const image of await pictures.locator("img").all()) await Person.drawn(image);
      }
      assert.equal(await height(ben), before, "the row changed its height");
      await ann.everythingSent();
      await row(ann, "With three files").locator(".processing").first().waitFor({ state: "detached" });
      await picture(ben, "files");
      const opener = row(ben, "With three files").getByRole("button", { name: "Open picture image.png" });
      await opener.click();
      const lightbox = ben.page.getByRole("dialog", { name: "image.png" });
      await Person.drawn(lightbox.getByRole("img", { name: "image.png" }));
      await ben.page.keyboard.press("ArrowRight");
      await Person.drawn(ben.page.getByRole("img", { name: "写真.png" }));
      await picture(ben, "files-lightbox");
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
    "An upload shows how far it is and can be cancelled, which brings the draft back; cut off, it is sent once in the end",
    async ({ ben, ann, bensLine, channel, picture }) => {
      await ben.enter(channel);
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
        await picture(ben, "files-upload");
        await row(ben, "A large one").getByRole("button", { name: "Cancel" }).click();
        await bar.waitFor({ state: "detached" });
        assert.equal(await ben.page.locator(".composer textarea").inputValue(), "A large one");
        await tray(ben).getByText("large.bin").waitFor();
        await ben.page.getByRole("button", { name: "Send", exact: true }).click();
        await bar.waitFor();
        bensLine.cut();
        await speed(-1);
        await ben.page.waitForTimeout(300);
        bensLine.mend();
        await ann.sees("A large one");
        await ben.everythingSent();
        await row(ann, "A large one").getByRole("link", { name: /^Download large\.bin, 6 MB/ }).waitFor();
        assert.equal(await ann.message("A large one").count(), 1);
      });
    },
  ],
  [
    "A refused upload stays with the reason, and goes back to where it was written",
    async ({ ann, channel }) => {
      await ann.enter(channel);
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
    "A picture chosen in the profile is made small, and shown to everybody beside the name and the messages, live",
    async ({ ann, ben, channel, picture }) => {
      await Promise.all([ann.enter(channel), ben.enter(channel)]);
      await ann.say("새 사진 보여 줘요.");
      await ben.sees("새 사진 보여 줘요.");
      await ben.say("사진 어때요? 📷");
      await ben.page.getByRole("button", { name: /your profile/ }).click();
      const dialog = ben.page.getByRole("dialog", { name: "Your profile" });
      await dialog.locator("input[type=file]").setInputFiles([file("large.png", noise(1400, 900), "image/png")]);
      await dialog.getByRole("img", { name: "The chosen picture" }).waitFor();
      await picture(ben, "profile");
      await dialog.getByRole("button", { name: "Save" }).click();
      await dialog.waitFor({ state: "detached" });
      const focused = await ben.page.evaluate(() => document.activeElement?.textContent);
      assert.match(focused ?? "", /your profile$/, "the focus returns");
      for (const who of [ann, ben]) {
        const members = who.page.getByRole("complementary", { name: "Members" });
        const face = members.locator(".member", { hasText: ben.name }).locator("img.face");
        await Person.drawn(face);
        assert.equal(await face.evaluate((image) => /** @type {HTMLImageElement} */ (image).naturalWidth), 320);
        await Person.drawn(row(who, "사진 어때요?").locator(".avatar img"));
      }
    },
  ],
];
