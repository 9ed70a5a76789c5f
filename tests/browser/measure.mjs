// The web app in a channel with 100,000 messages: scrolled from the newest to the first, and typed in while messages arrive.
//
//   BASE_URL=… ADMIN_USERNAME=… ADMIN_PASSWORD=… MIGRATION_DATABASE_URL=… node measure.mjs
//
// dev/measure web starts what it needs. MESSAGES: the length of the history (100000).
import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { basename } from "node:path";
import { apiOf, signUp } from "./api.mjs";
import { Person } from "./browser.mjs";

const base = process.env.BASE_URL ?? "http://127.0.0.1:3000";
const length = Number(process.env.MESSAGES ?? 100_000);
const KEYS = 200;
const KEY_PAUSE_MS = 90;
const ARRIVALS_PER_S = 20;
const WHEEL_PX = 2_400;
const MIB = 1024 * 1024;

const run = randomBytes(3).toString("hex");
const password = `pass-${run}`;

/** @param {number[]} values @param {number} part */
const percentile = (values, part) => [...values].sort((a, b) => a - b)[Math.ceil(values.length * part) - 1] ?? 0;
/** @param {number} value */
const ms = (value) => `${value.toFixed(value < 10 ? 1 : 0)} ms`;

/** How many took over 50 ms, and the longest. @param {number[]} tasks */
const longOf = (tasks) => `${tasks.filter((each) => each > 50).length} (${ms(Math.max(0, ...tasks))})`;

/** Fills the channel by SQL. @param {string} channelId @param {string[]} authors */
function fill(channelId, authors) {
  const texts = [
    "Good morning!",
    "Can somebody look at the deployment? The second node answers, the first does not, and its log says nothing since ten.",
    "안녕하세요, 오늘 회의는 세 시에 시작합니다. 자료는 https://example.org/회의/자료 에 있습니다.",
    "```js\nfor (const each of all) {\n  await each.done();\n}\n```",
    "One line\nand another\nand a third",
    "👍",
    `${"A long paragraph that takes several lines on most screens. ".repeat(8)}`,
  ];
  execFileSync("psql", [process.env.MIGRATION_DATABASE_URL ?? "", "-q", "-v", "ON_ERROR_STOP=1"], {
    input: `
      insert into messages (id, channel_id, seq, author_id, content, created_at, updated_at)
      select gen_random_uuid(), '${channelId}', n, (array['${authors.join("','")}']::uuid[])[1 + (n / 5) % ${authors.length}],
             (array[${texts.map((text) => `$text$${text}$text$`).join(",")}])[1 + (n * 7919) % ${texts.length}] || ' ' || n, t, t
      from generate_series(1, ${length}) n, lateral (select now() - (${length} - n) * interval '20 s' as t) times;
      update channels set last_seq = ${length}, last_message_at = now() where id = '${channelId}';
      analyze messages;`,
  });
}

/** Collects tasks over 50 ms. @param {import("playwright-core").Page} page */
const watchTasks = (page) =>
  page.evaluate(() => {
    const longTasks = /** @type {number[]} */ ([]);
    const add = (/** @type {PerformanceEntry[]} */ entries) => longTasks.push(...entries.map(({ duration }) => duration));
    const observer = new PerformanceObserver((list) => add(list.getEntries()));
    observer.observe({ type: "longtask" });
    const takeLongTasks = () => (add(observer.takeRecords()), longTasks.splice(0));
    Object.assign(window, { takeLongTasks });
  });

/** The tasks since the last call. @param {import("playwright-core").Page} page @returns {Promise<number[]>} */
const takeTasks = (page) =>
  page.evaluate(async () => {
    // A task is reported after its end.
    await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
    return /** @type {any} */ (window).takeLongTasks();
  });

/**
 * The tasks of the page's main thread by processor time, which do not count the waiting for other programs.
 *
 * @param {import("playwright-core").CDPSession} session
 * @returns {Promise<() => Promise<number[]>>} ends the recording: milliseconds of the tasks of at least 1 ms
 */
async function recordTasks(session) {
  /** @type {Map<string, number[]>} */
  const threads = new Map();
  let main = "";
  const onData = (/** @type {{value: any[]}} */ { value }) => {
    for (const { name, pid, tid, tdur, args } of value) {
      const thread = `${pid} ${tid}`;
      if (!threads.has(thread)) threads.set(thread, []);
      if (name === "thread_name" && args.name === "CrRendererMain") main = thread;
      if (name === "ThreadControllerImpl::RunTask" && tdur >= 1_000) threads.get(thread)?.push(tdur / 1_000);
    }
  };
  session.on("Tracing.dataCollected", onData);
  const traceConfig = { recordMode: /** @type {const} */ ("recordContinuously"), includedCategories: ["toplevel"] };
  await session.send("Tracing.start", { transferMode: "ReportEvents", traceConfig });
  return async () => {
    const done = new Promise((end) => session.once("Tracing.tracingComplete", end));
    await session.send("Tracing.end");
    await done;
    session.off("Tracing.dataCollected", onData);
    return threads.get(main) ?? [];
  };
}

/** @param {import("playwright-core").CDPSession} session */
async function metricsOf(session) {
  const { metrics } = await session.send("Performance.getMetrics");
  return (/** @type {string} */ name) => metrics.find((each) => each.name === name)?.value ?? 0;
}

/** @param {import("playwright-core").CDPSession} session */
async function memory(session) {
  await session.send("HeapProfiler.collectGarbage");
  const get = await metricsOf(session);
  return { heap: get("JSHeapUsedSize") / MIB, nodes: get("Nodes") };
}

/** Seconds of processor time of the page's main thread, which do not count what other programs take. Linux only. */
function busy() {
  const pages = readdirSync("/proc").filter((pid) => {
    const line = /^\d+$/.test(pid) && existsSync(`/proc/${pid}/cmdline`) ? readFileSync(`/proc/${pid}/cmdline`, "utf8") : "";
    return line.includes("--type=renderer") && line.includes(basename(reader.profile));
  });
  // The main thread has the id of its process.
  return pages.reduce((sum, pid) => sum + Number(readFileSync(`/proc/${pid}/task/${pid}/schedstat`, "utf8").split(" ")[0]) / 1e9, 0);
}

/**
 * Turns the wheel until the message with this number is in the document.
 *
 * @param {import("playwright-core").Page} page
 * @param {number} number
 */
async function scrollUp(page, number) {
  await page.evaluate(() => {
    const box = /** @type {HTMLElement} */ (document.querySelector("[role=log]"));
    const state = { oldest: Infinity, rows: 0, jump: 0, frames: /** @type {number[]} */ ([]), ended: false, on: true };
    /** @type {any} */ (window).scrolling = state;
    let last = performance.now();
    /** @type {HTMLElement | undefined} */
    let row;
    let top = 0;
    const { port1, port2 } = new MessageChannel();
    // As painted: the list corrects heights after the callbacks of the frame.
    requestAnimationFrame(function onFrame() {
      port2.postMessage(null);
      if (state.on) requestAnimationFrame(onFrame);
    });
    port1.onmessage = () => {
      const now = performance.now();
      state.frames.push(now - last);
      last = now;
      const all = /** @type {HTMLElement[]} */ ([...box.querySelectorAll("[data-row]")]);
      // Each message ends with its number.
      state.oldest = Math.min(state.oldest, Number(/\d+$/.exec(all[0]?.querySelector(".text")?.textContent ?? "")?.[0] ?? Infinity));
      state.rows = Math.max(state.rows, all.length);
      // The wheel moves every row down.
      if (row?.isConnected) state.jump = Math.max(state.jump, top - row.getBoundingClientRect().top);
      row = all.find((each) => each.getBoundingClientRect().bottom > innerHeight / 3);
      top = row?.getBoundingClientRect().top ?? 0;
      state.ended = box.scrollTop === 0 && box.querySelector(".beginning") !== null;
    };
  });
  const { x, y, width, height } = /** @type {any} */ (await page.getByRole("log").boundingBox());
  await page.mouse.move(x + width / 2, y + height / 2);
  for (;;) {
    await page.mouse.wheel(0, -WHEEL_PX);
    const oldest = await page.evaluate(() => {
      const { oldest, ended } = /** @type {any} */ (window).scrolling;
      return ended ? 0 : oldest;
    });
    if (oldest <= number) break;
  }
  return page.evaluate(() => {
    const state = /** @type {any} */ (window).scrolling;
    state.on = false;
    return state;
  });
}

/** Keys into the composer. @param {import("playwright-core").Page} page @returns {Promise<number[]>} from key to paint */
async function type(page) {
  await page.evaluate(() => {
    const times = (/** @type {any} */ (window).keyTimes = []);
    const onKey = (/** @type {KeyboardEvent} */ event) =>
      requestAnimationFrame(() => {
        const { port1, port2 } = new MessageChannel();
        port1.onmessage = () => void times.push(performance.now() - event.timeStamp);
        port2.postMessage(null);
      });
    addEventListener("keydown", onKey, { capture: true });
  });
  const box = page.locator(".composer textarea");
  await box.focus();
  for (let key = 0; key < KEYS; key++) {
    await page.keyboard.press(key % 6 ? "a" : "Space");
    await page.waitForTimeout(KEY_PAUSE_MS);
  }
  await box.fill("");
  return page.evaluate(() => /** @type {any} */ (window).keyTimes);
}

/** @param {Awaited<ReturnType<typeof apiOf>>[]} senders @param {string} channelId */
function sendSteadily(senders, channelId) {
  let sent = 0;
  let failed = 0;
  const timer = setInterval(() => {
    const sender = senders[sent % senders.length];
    sender.post(channelId, `Arrival ${++sent} with **some** text and a link: https://example.org/${sent}`).catch(() => failed++);
  }, 1000 / ARRIVALS_PER_S);
  return () => (clearInterval(timer), { sent, failed });
}

const admin = await apiOf(base, process.env.ADMIN_USERNAME ?? "admin", process.env.ADMIN_PASSWORD ?? "");
const channel = await admin.createChannel(`long-${run}`);
const senders = await Promise.all([1, 2, 3, 4].map((number) => signUp(base, `sender${number}-${run}`, password)));
fill(channel.id, senders.map(({ user }) => user.id));

const reader = await Person.open(`reader-${run}`, base);
try {
  const { page, context } = reader;
  await reader.signUp(password);
  const session = await context.newCDPSession(page);
  await session.send("Performance.enable");
  await watchTasks(page);
  await reader.openChannel(channel.name);
  await page.locator(".message").first().waitFor();
  await takeTasks(page);

  console.log("| messages scrolled through | heap | DOM nodes | rows in the document | frame p50 / p95 / max | tasks over 50 ms (longest) | by processor time | jump |");
  console.log("| --- | --- | --- | --- | --- | --- | --- | --- |");
  const first = await memory(session);
  console.log(`| 0 | ${first.heap.toFixed(1)} MiB | ${first.nodes} | ${await page.locator(".message").count()} | | | | |`);
  const steps = 5;
  for (let step = 1; step <= steps; step++) {
    const stopRecording = await recordTasks(session);
    const { frames, jump, rows } = await scrollUp(page, Math.round(length - (step * length) / steps));
    const tasks = await takeTasks(page);
    const processor = await stopRecording();
    const { heap, nodes } = await memory(session);
    // The collection of garbage above is a long task, and no part of the app.
    await takeTasks(page);
    const times = [0.5, 0.95, 1].map((part) => ms(percentile(frames, part))).join(" / ");
    const through = Math.min(length, Math.round((step * length) / steps));
    console.log(`| ${through} | ${heap.toFixed(1)} MiB | ${nodes} | ${rows} | ${times} | ${longOf(tasks)} | ${longOf(processor)} | ${jump.toFixed(1)} px |`);
  }

  console.log(`\n| typing, with ${ARRIVALS_PER_S} messages/s | key to paint p50 / p95 / max | tasks over 50 ms (longest) | by processor time | main thread, processor time |`);
  console.log("| --- | --- | --- | --- | --- |");
  for (const place of ["at the first message", "at the newest"]) {
    if (place === "at the newest") {
      await page.locator("button.jump").click();
      await page.waitForTimeout(1_000);
    }
    const stop = sendSteadily(senders, channel.id);
    await page.waitForTimeout(2_000);
    await takeTasks(page);
    const stopRecording = await recordTasks(session);
    const [began, before] = [Date.now(), busy()];
    const times = await type(page);
    const part = (busy() - before) / ((Date.now() - began) / 1000);
    const tasks = await takeTasks(page);
    const processor = await stopRecording();
    const { sent, failed } = stop();
    if (failed) console.log(`${failed} of ${sent} messages were refused`);
    console.log(`| ${place} | ${[0.5, 0.95, 1].map((part) => ms(percentile(times, part))).join(" / ")} | ${longOf(tasks)} | ${longOf(processor)} | ${Math.round(part * 100)} % |`);
  }
  if (reader.errors.length) throw new Error(reader.errors.join("\n"));
} finally {
  await reader.close();
}
