// Many clients at once, and clients that do not read.
import { setTimeout as sleep } from "node:timers/promises";
import { Crowd } from "../crowd.mjs";
import { until } from "../system.mjs";

/** @typedef {import("./step.mjs").Step} Step */

const CROWD = Number(process.env.CROWD ?? 300);
/** Time within which a crowd is connected. */
const BACK_TIMEOUT_MS = 30_000;
const SLOW_READERS = 8;
/** 2,000 characters of 4 bytes. */
const LONG = "😀".repeat(1_980);

/** A crowd of clients, whose connections all end when nginx dies; all come back at once. @type {Step} */
export async function reconnectCrowd({ system, load, people, admin, random, name, note, violate }) {
  // A room of its own, in which nobody deletes a message.
  const { id } = await admin.insist((api) => api.createChannel(`crowd-${name}`));
  load.history.rooms.set(id, { id, isPrivate: false, members: [] });
  const urls = system.sides.map(({ url }) => url);
  const crowd = new Crowd({ urls, people, channel: id, count: CROWD });
  await until(`${CROWD} clients are connected`, () => crowd.isComplete, BACK_TIMEOUT_MS);
  const timer = setInterval(() => load.isEnding || void load.send(random.pick(people), id), 500);
  await system.end("nginx");
  await system.startPart("nginx");
  return {
    heal: async () => {
      const started = Date.now();
      try {
        await until(`${CROWD} clients are back`, () => crowd.isComplete, BACK_TIMEOUT_MS);
        note(`${CROWD} clients back after ${((Date.now() - started) / 1000).toFixed(1)} s`);
      } catch (error) {
        violate(String(error));
      }
    },
    tidy: () => {
      clearInterval(timer);
      if (crowd.errors.length) violate(`the crowd got messages out of order: ${crowd.errors.slice(0, 10).join("; ")}`);
      crowd.close();
    },
  };
}

/** Clients of one room stop reading while long messages arrive. @type {Step} */
export async function slowReaders({ system, load, people, admin, random, name, note, measureCalm }) {
  const { id } = await admin.insist((api) => api.createChannel(`slow-${name}`));
  const urls = system.sides.map(({ url }) => url);
  const crowd = new Crowd({ urls, people, channel: id, count: SLOW_READERS });
  await until("the readers are connected", () => crowd.isComplete, BACK_TIMEOUT_MS);
  let count = 0;
  const flood = setInterval(() => {
    if (load.isEnding) return;
    void random.pick(people).api.post(id, LONG).then(() => count++, () => {});
  }, 25);
  // The long messages themselves take time; only what the others notice of the slow readers counts.
  await measureCalm();
  for (const member of crowd.members) member.stopReading();
  return {
    heal: async () => {
      clearInterval(flood);
      note(`${count} messages of 8 KB`);
      crowd.close();
      await sleep(100);
    },
  };
}
