import assert from "node:assert/strict";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Person } from "../browser.mjs";
import { noise, png } from "../png.mjs";
import { until } from "../until.mjs";
import { wav } from "../wav.mjs";

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

/** Records a moving picture. @param {Person} person @returns {Promise<Buffer>} WebM */
async function video(person) {
  const base64 = await person.page.evaluate(async () => {
    const canvas = Object.assign(document.createElement("canvas"), { width: 320, height: 180 });
    const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
    const recorder = new MediaRecorder(canvas.captureStream(25), { mimeType: "video/webm" });
    /** @type {Blob[]} */
    const parts = [];
    recorder.ondataavailable = ({ data }) => parts.push(data);
    const ended = new Promise((resolve) => (recorder.onstop = resolve));
    recorder.start();
    for (let frame = 0; frame < 25; frame++) {
      context.fillStyle = `hsl(${frame * 14} 70% 50%)`;
      context.fillRect(0, 0, 320, 180);
      await new Promise((resolve) => setTimeout(resolve, 40));
    }
    recorder.stop();
    await ended;
    const bytes = new Uint8Array(await new Blob(parts).arrayBuffer());
    let text = "";
    for (const byte of bytes) text += String.fromCharCode(byte);
    return btoa(text);
  });
  return Buffer.from(base64, "base64");
}

/** A small PDF, with a page in red. */
const PDF = Buffer.from(
  "%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj\n" +
    "3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 200 200]/Contents 4 0 R>>endobj\n" +
    "4 0 obj<</Length 27>>stream\n1 0 0 rg 0 0 200 200 re f\n\nendstream endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n",
);

/** Whether a page shows something red. @param {import("playwright-core").Page} page @param {import("playwright-core").Page} decoder */
async function showsRed(page, decoder) {
  const picture = (await page.screenshot()).toString("base64");
  return decoder.evaluate(async (base64) => {
    const bitmap = await createImageBitmap(new Blob([Uint8Array.from(atob(base64), (character) => character.charCodeAt(0))]));
    const context = /** @type {OffscreenCanvasRenderingContext2D} */ (new OffscreenCanvas(bitmap.width, bitmap.height).getContext("2d"));
    context.drawImage(bitmap, 0, 0);
    const { data } = context.getImageData(0, 0, bitmap.width, bitmap.height);
    return data.some((value, at) => at % 4 === 0 && value > 200 && data[at + 1] < 50 && data[at + 2] < 50);
  }, picture);
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
        await row(ann, "A large one").getByRole("link", { name: /^Download large\.bin 6 MB/ }).waitFor();
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
    "A file that was changed or deleted after the choice is named, and blocks neither its message nor others",
    async ({ ann, ben, channel, run, screenshot }) => {
      await Promise.all([ann.openChannel(channel), ben.openChannel(channel)]);
      const folder = await mkdtemp(join(tmpdir(), "discodeit-upload-"));
      const path = (/** @type {string} */ name) => join(folder, name);
      try {
        for (const name of ["stays.txt", "changes.txt", "goes.txt"]) await writeFile(path(name), `${name} ${run}`);
        await input(ann).setInputFiles(["stays.txt", "changes.txt", "goes.txt"].map(path));
        await ann.page.locator(".composer textarea").fill(`Three files ${run}`);
        await writeFile(path("changes.txt"), "This is another text.");
        await rm(path("goes.txt"));
        await ann.page.getByRole("button", { name: "Send", exact: true }).click();
        const failure = row(ann, `Three files ${run}`).getByRole("alert");
        await failure.getByText("“changes.txt” and “goes.txt” were changed or deleted after you chose them.").waitFor();
        await screenshot(ann, "files-lost");
        assert.equal(await failure.getByRole("button", { name: "Retry" }).count(), 0);
        await ann.send(`Meanwhile ${run}`);
        await ben.waitForMessages(`Meanwhile ${run}`);
        await failure.getByRole("button", { name: "Send without" }).click();
        await row(ben, `Three files ${run}`).getByRole("link", { name: /^Download stays.txt/ }).waitFor();
        assert.equal(await row(ben, `Three files ${run}`).locator(".file").count(), 1);
        await ann.waitUntilSent();

        await writeFile(path("only.txt"), "only");
        await input(ann).setInputFiles(path("only.txt"));
        await rm(path("only.txt"));
        await ann.page.getByRole("button", { name: "Send", exact: true }).click();
        const alone = ann.page.locator(".message.failed");
        await alone.getByText("“only.txt” was changed or deleted after you chose it.").waitFor();
        assert.equal(await alone.getByRole("button", { name: "Send without" }).count(), 0);
        await alone.getByRole("button", { name: "Edit" }).click();
        await alone.waitFor({ state: "detached" });
        assert.equal(await tray(ann).count(), 0);
      } finally {
        await rm(folder, { recursive: true });
      }
    },
  ],
  [
    "A folder among dropped files is refused by name, and the files beside it are attached",
    async ({ ann, channel }) => {
      await ann.openChannel(channel);
      const folder = await mkdtemp(join(tmpdir(), "discodeit-upload-"));
      try {
        await mkdir(join(folder, "holiday"));
        await writeFile(join(folder, "note.txt"), "a note");
        const network = await ann.context.newCDPSession(ann.page);
        const files = ["holiday", "note.txt"].map((name) => join(folder, name));
        for (const type of /** @type {const} */ (["dragEnter", "dragOver", "drop"])) {
          await network.send("Input.dispatchDragEvent", { type, x: 600, y: 400, data: { items: [], files, dragOperationsMask: 1 } });
        }
        await ann.page.getByRole("alert").getByText("“holiday” is a folder: only files can be attached.").waitFor();
        assert.deepEqual(await tray(ann).locator(".file-name").allInnerTexts(), ["note.txt"]);
        await tray(ann).getByRole("button", { name: "Remove note.txt" }).click();
      } finally {
        await rm(folder, { recursive: true });
      }
    },
  ],
  [
    "Several pictures form a grid, and the arrows lead through all of them and round",
    async ({ ann, ben, channel, run, screenshot }) => {
      await Promise.all([ann.openChannel(channel), ben.openChannel(channel)]);
      const names = [1, 2, 3, 4, 5].map((number) => `holiday ${number}.png`);
      await input(ann).setInputFiles(names.map((name, at) => file(name, png(300 + 90 * at, 420 - 60 * at, 40 * at), "image/png")));
      await ann.page.locator(".composer textarea").fill(`Holiday ${run}`);
      await ann.page.getByRole("button", { name: "Send", exact: true }).click();
      const pictures = row(ben, `Holiday ${run}`).getByRole("button", { name: /^Open picture/ });
      await pictures.nth(4).and(ben.page.locator(":enabled")).waitFor();
      for (const image of await pictures.locator("img").all()) await Person.waitForPicture(image);
      const tops = await pictures.evaluateAll((all) => all.map((each) => Math.round(each.getBoundingClientRect().top)));
      assert.deepEqual(tops.map((top) => top === tops[0]), [true, true, false, false, false], `${tops}`);
      await ann.waitUntilSent();
      await screenshot(ben, "files-gallery");
      await pictures.nth(4).click();
      const at = (/** @type {number} */ number) => ben.page.getByRole("dialog", { name: names[number - 1] }).getByText(`${number} of 5`);
      await at(5).waitFor();
      await ben.page.keyboard.press("ArrowRight");
      await at(1).waitFor();
      await ben.page.keyboard.press("ArrowLeft");
      await ben.page.keyboard.press("ArrowLeft");
      await at(4).waitFor();
      await ben.page.getByRole("button", { name: "Next picture" }).click();
      await at(5).waitFor();
      await ben.page.keyboard.press("Escape");
    },
  ],
  [
    "Audio and video play in place and are read in ranges, one at a time; a PDF opens in the browser's viewer",
    async ({ ann, ben, channel, run, screenshot }) => {
      await Promise.all([ann.openChannel(channel), ben.openChannel(channel)]);
      /** @type {{status: number, range: string | undefined}[]} */
      const answers = [];
      ben.page.on("response", (response) => {
        const { range } = response.request().headers();
        if (range) answers.push({ status: response.status(), range });
      });
      await input(ann).setInputFiles([
        file("tone.wav", wav(60), "audio/wav"),
        file("clip.webm", await video(ann), "video/webm"),
        file("paper.pdf", PDF, "application/pdf"),
        file("old.avi", Buffer.from("not for browsers"), "video/x-msvideo"),
        file("broken.webm", Buffer.from("no video at all"), "video/webm"),
      ]);
      await ann.page.locator(".composer textarea").fill(`Media ${run}`);
      await ann.page.getByRole("button", { name: "Send", exact: true }).click();
      const media = row(ben, `Media ${run}`);
      const ready = (/** @type {string} */ name) =>
        ben.page.waitForFunction((label) => {
          const element = /** @type {HTMLMediaElement | null} */ (document.querySelector(`[aria-label="${label}"]`));
          return element !== null && element.readyState >= 1;
        }, name);
      await Promise.all([ready("tone.wav"), ready("clip.webm")]);
      await media.locator('[aria-label="broken.webm"]').waitFor({ state: "detached" });
      for (const name of ["old.avi", "broken.webm", "tone.wav"]) await media.getByRole("link", { name: `Download ${name}` }).waitFor();
      assert.equal(await media.locator("audio, video").count(), 2);
      assert.ok(answers.length >= 2 && answers.every(({ status }) => status === 206), JSON.stringify(answers));
      await screenshot(ben, "files-media");

      await ben.page.getByRole("log").focus();
      await ben.page.keyboard.press("Tab");
      const next = await ben.page.evaluate(() => document.activeElement?.closest(".composer, audio, video")?.tagName);
      assert.equal(next, "FORM", "the controls of players are Tab stops");
      const tone = media.locator("audio");
      assert.equal(Math.round(await tone.evaluate((audio) => /** @type {HTMLAudioElement} */ (audio).duration)), 60);
      await tone.evaluate(async (audio) => {
        const element = /** @type {HTMLAudioElement} */ (audio);
        element.muted = true;
        element.currentTime = 50;
        await element.play();
      });
      await media.locator("video").evaluate((element) => {
        const clip = /** @type {HTMLVideoElement} */ (element);
        clip.muted = true;
        return clip.play();
      });
      assert.equal(await tone.evaluate((audio) => /** @type {HTMLAudioElement} */ (audio).paused), true, "both play");
      assert.ok((await tone.evaluate((audio) => /** @type {HTMLAudioElement} */ (audio).currentTime)) >= 50);

      if (await ben.page.evaluate(() => navigator.pdfViewerEnabled)) {
        const [viewer] = await Promise.all([
          ben.context.waitForEvent("page"),
          media.getByRole("button", { name: "Open paper.pdf" }).click(),
        ]);
        await viewer.waitForURL(/^blob:/);
        assert.equal(await viewer.evaluate(() => document.contentType), "application/pdf");
        // The viewer draws the page: the policy of the app, which the document inherits, does not block it.
        await until(() => showsRed(viewer, ben.page), true);
        await viewer.close();
      }
      const [download] = await Promise.all([
        ben.page.waitForEvent("download"),
        media.getByRole("link", { name: "Download paper.pdf" }).click(),
      ]);
      assert.equal(download.suggestedFilename(), "paper.pdf");
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
