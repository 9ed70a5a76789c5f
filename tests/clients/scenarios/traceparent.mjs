// The header traceparent through nginx: from a proxy in OUTER_PROXIES, and from nobody else.
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { copyFile, mkdtemp, rm, writeFile } from "node:fs/promises";
import http from "node:http";
import { tmpdir } from "node:os";
import { fileURLToPath } from "node:url";

const top = fileURLToPath(new URL("../../../", import.meta.url));
const TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/** @param {http.Server} server @returns {Promise<number>} its port */
async function listen(server) {
  await new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(undefined)));
  return /** @type {import("node:net").AddressInfo} */ (server.address()).port;
}

/**
 * The headers that a node gets through nginx.
 *
 * @param {string} outerProxies
 * @param {Record<string, string>} headers
 */
async function forwarded(outerProxies, headers) {
  /** @type {http.IncomingHttpHeaders | undefined} */
  let received;
  const node = http.createServer((request, response) => {
    received = request.headers;
    response.end("{}");
  });
  const free = http.createServer();
  const [nodePort, port] = [await listen(node), await listen(free)];
  free.close();
  const folder = await mkdtemp(`${tmpdir()}/nginx-`);
  await copyFile(`${top}nginx.conf`, `${folder}/nginx.conf`);
  await writeFile(`${folder}/upstream.conf`, `upstream backend { server 127.0.0.1:${nodePort}; }\n`);
  await writeFile(`${folder}/listen.conf`, `listen 127.0.0.1:${port};\nroot ${folder};\n`);
  const outer = execFileSync(`${top}deploy/nginx/outer-proxies`, { env: { OUTER_PROXIES: outerProxies } });
  await writeFile(`${folder}/outer_proxies.conf`, outer);
  const nginx = spawn("nginx", ["-e", "stderr", "-p", `${folder}/`, "-c", `${folder}/nginx.conf`, "-g", "daemon off;"], {
    env: { PATH: `${process.env.PATH}:/usr/sbin`, TZ: "UTC" },
    stdio: "ignore",
  });
  const ended = new Promise((resolve) => nginx.on("exit", resolve));
  try {
    for (const deadline = Date.now() + 10_000; !received; ) {
      const answer = await fetch(`http://127.0.0.1:${port}/api/users`, { headers }).catch(() => undefined);
      await answer?.text();
      assert.ok(received || Date.now() < deadline, "nginx answers");
    }
    return received;
  } finally {
    nginx.kill();
    await ended;
    node.closeAllConnections();
    node.close();
    await rm(folder, { recursive: true });
  }
}

/** @type {import("../run.mjs").Scenario[]} */
export const traceparent = [
  [
    "nginx passes on the trace of a proxy in OUTER_PROXIES, and drops a client's",
    async () => {
      const headers = { traceparent: TRACE, tracestate: "a=b", "X-Forwarded-For": "203.0.113.7" };
      for (const [outer, expected] of [["127.0.0.0/8", TRACE], ["10.0.0.0/8", undefined], ["", undefined]]) {
        const got = await forwarded(String(outer ?? ""), headers);
        assert.equal(got.traceparent, expected, `OUTER_PROXIES=${outer}`);
        assert.equal(got.tracestate, undefined);
      }
    },
  ],
];
