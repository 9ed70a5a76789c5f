// Kafka loses its data or its topics, or has records that no node has published so.
import { rm } from "node:fs/promises";
import { TOPICS, collect, poison, publish } from "../records.mjs";
import { folder } from "../system.mjs";

/** @typedef {import("./step.mjs").Step} Step */

/** Records that a fault repeats. */
const MIN_RECORDS = 50;

/** Kafka is down, and comes back without any data. @type {Step} */
export async function empty({ system }) {
  await system.end("kafka");
  await rm(`${folder}/kafka`, { recursive: true });
  return { heal: () => system.startPart("kafka") };
}

/** @type {Step} */
export async function deleteTopics({ system }) {
  const admin = system.kafka.admin();
  try {
    await admin.connect();
    await admin.deleteTopics({ topics: TOPICS });
  } finally {
    await admin.disconnect();
  }
}

/** Publishes records again: at once, and in the opposite order. @type {Step} */
export async function repeatRecords({ system, violate }) {
  const records = await collect(system.kafka, MIN_RECORDS);
  if (records.length < MIN_RECORDS) violate(`only ${records.length} records to repeat`);
  await publish(system.kafka, records);
  await publish(system.kafka, records.toReversed());
}

/** @type {Step} */
export async function poisonRecords({ system }) {
  await publish(system.kafka, poison());
}
