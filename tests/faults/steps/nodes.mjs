// Nodes that die, stop, leave, run out of descriptors, or live in another time.
import { execFile } from "node:child_process";
import { access, readdir, writeFile } from "node:fs/promises";
import net from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { NODES, folder, nodePort } from "../system.mjs";

const run = promisify(execFile);
const FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";

/** @typedef {import("./step.mjs").Step} Step */

/** @type {Step} */
export async function killNode({ system, random }) {
  const name = `node-${random.pick(NODES)}`;
  await system.end(name);
  return { heal: () => system.startPart(name) };
}

/** @type {Step} */
export async function killAllNodes({ system }) {
  const names = NODES.map((node) => `node-${node}`);
  await Promise.all(names.map((name) => system.end(name)));
  return { heal: () => Promise.all(names.map((name) => system.startPart(name))) };
}

/** Restarts the nodes one by one, as an upgrade does. @type {Step} */
export async function rollNodes({ system, random, violate }) {
  for (const node of random.shuffled(NODES)) {
    const started = Date.now();
    await system.end(`node-${node}`, "SIGTERM");
    if (Date.now() - started > 20_000) violate(`node-${node} took ${Date.now() - started} ms to drain`);
    await system.startPart(`node-${node}`);
    await system.untilReady(node);
  }
}

/** @type {Step} */
export async function stopNode({ system, random }) {
  const name = `node-${random.pick(NODES)}`;
  await system.signal(name, "SIGSTOP");
  return { heal: () => system.signal(name, "SIGCONT") };
}

/** Leaves a node no descriptor, and takes those that it has left. @type {Step} */
export async function exhaustDescriptors({ system, random }) {
  const node = random.pick(NODES);
  const pid = await system.pid(`node-${node}`);
  const before = await run("prlimit", ["--pid", String(pid), "--nofile", "--noheadings", "--output", "SOFT,HARD"]);
  const [soft, hard] = before.stdout.trim().split(/\s+/);
  const open = (await readdir(`/proc/${pid}/fd`)).length;
  await run("prlimit", ["--pid", String(pid), `--nofile=${open + 4}:${hard}`]);
  const sockets = Array.from({ length: 50 }, () => net.connect(nodePort(node), "127.0.0.1").on("error", () => {}));
  return {
    heal: async () => {
      await run("prlimit", ["--pid", String(pid), `--nofile=${soft}:${hard}`]);
      for (const socket of sockets) socket.destroy();
    },
  };
}

/** Moves the clock of a running node an hour ahead, and back. @type {Step} */
export async function jumpClock({ system, random }) {
  await access(FAKETIME);
  const node = random.pick(NODES);
  const file = `${folder}/clock-${node}`;
  await writeFile(file, "+0\n");
  const clock = `LD_PRELOAD=${FAKETIME} FAKETIME_TIMESTAMP_FILE=${file} FAKETIME_NO_CACHE=1 FAKETIME_DONT_FAKE_MONOTONIC=1 TZ=UTC`;
  system.settings.set(node, { NODE_WRAPPER: `env ${clock}` });
  await system.end(`node-${node}`, "SIGTERM");
  await system.startPart(`node-${node}`);
  await system.untilReady(node);
  await writeFile(file, "+1h\n");
  return {
    heal: () => writeFile(file, "+0\n"),
    tidy: async () => {
      system.settings.delete(node);
      await system.end(`node-${node}`, "SIGTERM");
      await system.startPart(`node-${node}`);
    },
  };
}

/** Runs the program BACKEND_OLD as one node, beside the others. @type {Step} */
export async function oldVersion({ system, random }) {
  const node = random.pick(NODES);
  const restart = async () => {
    await system.end(`node-${node}`, "SIGTERM");
    await system.startPart(`node-${node}`);
    await system.untilReady(node);
  };
  system.settings.set(node, { BACKEND: process.env.BACKEND_OLD ?? "" });
  await restart();
  await sleep(1_000);
  return {
    heal: async () => {
      system.settings.delete(node);
      await restart();
    },
  };
}
