// Kafka records that are not as the nodes published them: repeated, late, or not readable.
import { setTimeout as sleep } from "node:timers/promises";

/** As in src/model/event.rs, with the default prefix. */
export const TOPICS = ["messages", "sse", "control", "jobs"].map((name) => `discodeit.${name}`);

/** @typedef {{topic: string, key: Buffer | null, value: Buffer | null, headers?: import("kafkajs").IHeaders}} Copy */

const COLLECT_MS = 4_000;
/** Another fault of a random round may end all nodes meanwhile. */
const MAX_COLLECT_MS = 20_000;

/**
 * Records that are published from now on: those of 4 s, and of up to 20 s while there are fewer than `enough`.
 *
 * @param {import("kafkajs").Kafka} kafka
 * @param {number} enough
 * @returns {Promise<Copy[]>}
 */
export async function collect(kafka, enough) {
  const consumer = kafka.consumer({ groupId: `faults-${Math.random()}` });
  /** @type {Copy[]} */
  const copies = [];
  try {
    await consumer.connect();
    await consumer.subscribe({ topics: TOPICS, fromBeginning: false });
    await consumer.run({
      eachMessage: async ({ topic, message: { key, value, headers } }) => void copies.push({ topic, key, value, headers }),
    });
    const began = Date.now();
    do await sleep(COLLECT_MS);
    while (copies.length < enough && Date.now() < began + MAX_COLLECT_MS);
  } finally {
    await consumer.disconnect();
  }
  return copies;
}

/** @param {import("kafkajs").Kafka} kafka @param {Copy[]} records */
export async function publish(kafka, records) {
  const producer = kafka.producer({ allowAutoTopicCreation: false });
  try {
    await producer.connect();
    for (const topic of new Set(records.map((record) => record.topic))) {
      const messages = records.filter((record) => record.topic === topic).map(({ key, value, headers }) => ({ key, value, headers }));
      await producer.send({ topic, messages });
    }
  } finally {
    await producer.disconnect();
  }
}

/** Records that no node can read, for each topic. @returns {Copy[]} */
export function poison() {
  const [key, garbage] = [Buffer.from("all"), Buffer.from([0xff, 0x00, 0xfe, 0x80])];
  const id = "01a20b52-be81-748c-8caf-c49630ab484d";
  const bodies = [
    { key: null, value: null },
    { key: garbage, value: garbage, headers: { id: garbage, kind: garbage } },
    { key, value: Buffer.from("{"), headers: { id, kind: "message.created", seq: "1" } },
    { key, value: Buffer.from("{}"), headers: { id, kind: "message.created", seq: "-1" } },
    { key, value: Buffer.from("{}"), headers: { id, kind: "of.a.later.version" } },
    { key, value: Buffer.from("[]"), headers: { id, kind: "channels.refresh", at: "not a position" } },
    { key, value: Buffer.from("null"), headers: { id, kind: "control" } },
    { key, value: Buffer.alloc(200_000, "x"), headers: { id: "not an id", kind: "message.created", seq: "99999999999999999999" } },
  ];
  return TOPICS.flatMap((topic) => bodies.map((body) => ({ topic, ...body })));
}
