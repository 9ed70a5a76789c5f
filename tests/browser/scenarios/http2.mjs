// nginx with TLS in listen.conf.
import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { copyFile, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import http2 from "node:http2";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const TABS = 10;
const checkout = fileURLToPath(new URL("../../../", import.meta.url));

/** @returns {Promise<number>} */
const freePort = () =>
  new Promise((resolve) => {
    const server = net.createServer().listen(0, "127.0.0.1", () => {
      const { port } = /** @type {net.AddressInfo} */ (server.address());
      server.close(() => resolve(port));
    });
  });

/** nginx of this checkout in front of the running system, with TLS as README.md says. @param {URL} base */
async function startTls(base) {
  const home = await mkdtemp(join(tmpdir(), "discodeit-tls-"));
  const port = await freePort();
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", "tls.key"];
  const certificate = ["req", "-x509", ...key, "-out", "tls.pem", "-days", "1", "-subj", "/CN=localhost"];
  await promisify(execFile)("openssl", certificate, { cwd: home });
  await mkdir(join(home, "web"));
  await promisify(execFile)("cp", ["-r", join(checkout, "dist"), join(home, "web")]);
  await copyFile(join(checkout, "nginx.conf"), join(home, "nginx.conf"));
  await writeFile(join(home, "upstream.conf"), `upstream backend { server ${base.hostname}:${base.port || 80}; keepalive 8; }\n`);
  await writeFile(
    join(home, "listen.conf"),
    [
      `listen 127.0.0.1:${port} ssl http2;`,
      `ssl_certificate "${join(home, "tls.pem")}";`,
      `ssl_certificate_key "${join(home, "tls.key")}";`,
      `root "${join(home, "web/dist")}";`,
    ].join("\n"),
  );
  await writeFile(join(home, "outer_proxies.conf"), "");
  const user = process.getuid?.() === 0 ? "user root;" : "";
  const args = ["-e", "stderr", "-p", `${home}/`, "-c", join(home, "nginx.conf"), "-g", `daemon off; ${user}`];
  // In /usr/sbin, which Debian leaves out of a user's PATH.
  const env = { ...process.env, PATH: `${process.env.PATH}:/usr/sbin` };
  const nginx = spawn("nginx", args, { stdio: "ignore", env });
  const url = `https://127.0.0.1:${port}`;
  const close = async () => {
    const ended = new Promise((resolve) => nginx.once("exit", resolve));
    nginx.kill("SIGTERM");
    await ended;
    await rm(home, { recursive: true });
  };
  for (let tries = 0; ; tries++) {
    try {
      await request(url, "/api/health/live");
      return { url, close };
    } catch (error) {
      if (tries > 50) throw (await close(), error);
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
}

/** @param {string} url @param {string} path @returns {Promise<{status: unknown, protocol: unknown}>} */
const request = (url, path) =>
  new Promise((resolve, reject) => {
    const session = http2.connect(url, { rejectUnauthorized: false });
    session.on("error", reject);
    const stream = session.request({ ":path": path });
    stream.on("error", reject);
    stream.on("response", (headers) => {
      resolve({ status: headers[":status"], protocol: session.alpnProtocol });
      session.close();
    });
    stream.resume();
  });

/** @type {import("../run.mjs").Scenario[]} */
export const http2Scenarios = [
  [
    "With TLS, nginx speaks HTTP/2, and the app works in ten tabs",
    async ({ ann, newPerson, base, password, channel, run }) => {
      const tls = await startTls(base);
      try {
        for (const path of ["/", "/api/health/live"]) {
          assert.deepEqual(await request(tls.url, path), { status: 200, protocol: "h2" });
        }
        const tom = await newPerson("tom", { url: tls.url, ignoreHTTPSErrors: true });
        await tom.signUp(password);
        await Promise.all([tom.openChannel(channel), ann.openChannel(channel)]);
        for (let count = 1; count < TABS; count++) await (await tom.context.newPage()).goto(tom.page.url());
        await ann.send(`Over HTTP/2, ${run}`);
        for (const page of tom.context.pages()) await page.locator(".message .text", { hasText: `Over HTTP/2, ${run}` }).waitFor();
        await tom.send(`And back, ${run}`);
        await ann.waitForMessages(`And back, ${run}`);
        const protocols = await tom.page.evaluate(() => performance.getEntriesByType("navigation").map((each) => /** @type {any} */ (each).nextHopProtocol));
        assert.deepEqual(protocols, ["h2"]);
        await tom.close();
      } finally {
        await tls.close();
      }
    },
  ],
];
