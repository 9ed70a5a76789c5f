// The storage of files is full.
import { execFile } from "node:child_process";
import { randomUUID } from "node:crypto";
import { mkdir, writeFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { folder } from "../system.mjs";

const run = promisify(execFile);
const FILES = `${folder}/files`;

/** @type {import("./step.mjs").Step} */
export async function fillDisk({ load, people, random, violate, note }) {
  await mkdir(FILES, { recursive: true });
  await run("mount", ["-t", "tmpfs", "-o", "size=1m", "discodeit-faults", FILES]);
  await run("mkdir", ["-p", `${FILES}/incoming`, `${FILES}/files`]);
  await writeFile(`${FILES}/full`, Buffer.alloc(1 << 20)).catch(() => {});
  const room = random.pick(load.publicRooms);
  let refused = 0;
  /** @param {number} bytes */
  const upload = async (bytes) => {
    const [person, id, at] = [random.pick(people), randomUUID(), Date.now()];
    const send = { id, author: person.id, channel: room, text: `f${id.slice(0, 8)} with a file`, at, triedAt: at, tries: 1 };
    /** @type {import("../history.mjs").Send} */
    const record = { ...send, outcome: "pending" };
    load.history.sends.set(id, record);
    const blob = new Blob([Buffer.alloc(bytes, "x")]);
    const { outcome, status } = await person.attempt((api) => api.post(room, send.text, id, blob));
    // Nothing is wrong with the request: the answer must be one of the server's own.
    record.outcome = outcome === "refused" ? "unknown" : outcome;
    if (outcome === "refused" || status === 500) violate(`an upload to a full disk is answered with ${status}`);
    return outcome;
  };
  const timer = setInterval(async () => {
    if (!load.isEnding && (await upload(200_000)) !== "accepted") refused++;
  }, 500);
  return {
    heal: async () => {
      clearInterval(timer);
      await run("umount", ["-l", FILES]);
      note(`${refused} uploads refused`);
      if (!refused) violate("no upload was refused, although the disk was full");
      // Another fault may last longer.
      const deadline = Date.now() + 20_000;
      while ((await upload(200_000)) !== "accepted") {
        if (Date.now() > deadline) return violate("uploads fail after the disk has space again");
        await sleep(500);
      }
    },
  };
}
