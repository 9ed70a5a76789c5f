// docs/faults.md, written by the runner.
import { writeFile } from "node:fs/promises";
import { cpus, totalmem } from "node:os";
import { columns } from "./runner.mjs";
import { top } from "./system.mjs";

const INTRODUCTION = `# Faults

\`make faults\` breaks each part of the system under load, and checks what the clients saw: three nodes behind nginx, on their own
PostgreSQL, Redis and Kafka; 40 STOMP clients over WebSocket and SockJS, 10 SSE clients, 8 rooms, 30 acknowledged messages a second
with edits, deletions and removals from private rooms. \`tests/faults/checker.mjs\` decides whether the history of the run keeps the
promises of [\`architecture.md\`](architecture.md); \`tests/faults/checker.test.mjs\` forges a history of each violation.

- \`make faults SEED=n FAULT=name\` repeats one fault. \`dev/faults core\` runs the core set, as \`make test\` does.
- \`make soak MINUTES=n SEED=n\` draws rounds of one to three overlapping faults. \`SEED=n dev/faults round\` repeats one round.

The latency of a delivery runs from the start of the accepted SEND or POST to the MESSAGE at a client. It is normal when its 99th
percentile over 2 s is at most twice that before the fault, plus 50 ms, where a message that has not arrived counts as infinitely late.
*Normal after* is the time from the end of the fault to the first such window. *Lost* counts accepted messages that are not
stored, deliveries, SSE events, notifications and edits that never came.
`;

/** @param {import("./runner.mjs").Result[]} results @param {number} seed */
export async function writeTable(results, seed) {
  const names = columns(results[0]).map(([name]) => name);
  const row = (/** @type {string[]} */ cells) => `| ${cells.join(" | ")} |`;
  const lines = results.map((result) => {
    const { fault, violations, others } = result;
    const wrong = violations.length + others.length;
    return row([`\`${fault.name}\``, fault.what, ...columns(result).map(([, value]) => value), String(wrong)]);
  });
  const date = new Date().toISOString().slice(0, 10);
  const busy = Math.max(...results.map(({ machineLoad }) => machineLoad)).toFixed(1);
  const machine = `${cpus().length} cores, ${Math.round(totalmem() / 2 ** 30)} GiB and a load average of at most ${busy}`;
  const text = [
    INTRODUCTION,
    `\`dev/faults ${process.argv.slice(2).join(" ")}\` wrote this table on ${date} with the seed ${seed}, on a machine with ${machine}.`,
    "",
    row(["fault", "what happens", ...names, "violations"]),
    row(["---", "---", ...names.map(() => "---"), "---"]),
    ...lines,
    "",
  ];
  await writeFile(`${top}docs/faults.md`, text.join("\n"));
}
