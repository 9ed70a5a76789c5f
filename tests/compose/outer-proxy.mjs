// A proxy in front of nginx, as an operator's own would be: it names each client's address in X-Forwarded-For.
import http from "node:http";
import net from "node:net";

/**
 * @param {URL} target
 * @param {string} client the address of all clients of this proxy
 */
export async function outerProxy(target, client) {
  const port = Number(target.port || 80);
  const server = http.createServer((request, response) => {
    const headers = { ...request.headers, "x-forwarded-for": client };
    const { method, url: path } = request;
    const forwarded = http.request({ host: target.hostname, port, method, path, headers }, (answer) => {
      response.writeHead(answer.statusCode ?? 502, answer.headers);
      answer.pipe(response);
      answer.on("error", () => response.destroy());
    });
    forwarded.on("error", () => response.destroy());
    request.pipe(forwarded);
    response.on("close", () => forwarded.destroy());
  });
  server.on("upgrade", (request, inside, head) => {
    const outside = net.connect({ host: target.hostname, port, noDelay: true });
    const lines = Object.entries({ ...request.headers, "x-forwarded-for": client }).map(([name, value]) => `${name}: ${value}\r\n`);
    outside.write(`${request.method} ${request.url} HTTP/1.1\r\n${lines.join("")}\r\n`);
    outside.write(head);
    outside.pipe(inside).pipe(outside);
    for (const [here, there] of [[inside, outside], [outside, inside]]) {
      here.on("error", () => there.destroy());
      here.on("close", () => there.destroy());
    }
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(undefined)));
  const address = /** @type {net.AddressInfo} */ (server.address());
  return {
    url: `http://127.0.0.1:${address.port}`,
    close() {
      server.closeAllConnections();
      server.close();
    },
  };
}

/**
 * Proxies whose clients nginx assigns to different backends.
 *
 * @param {URL} target
 * @param {number} count of backends
 */
export async function proxiesToEach(target, count) {
  /** @type {Map<string, string>} */
  const clients = new Map();
  for (let network = 1; network <= 64 && clients.size < count; network++) {
    const client = `100.64.${network}.1`;
    const answer = await fetch(new URL("/api/auth/csrf-token", target), { headers: { "X-Forwarded-For": client } });
    await answer.arrayBuffer();
    const node = answer.headers.get("Discodeit-Node");
    if (!node) throw new Error(`the answer ${answer.status} has no Discodeit-Node header`);
    if (!clients.has(node)) clients.set(node, client);
  }
  if (clients.size < count) throw new Error(`nginx uses only the backends ${[...clients.keys()].join(" and ")}`);
  return Promise.all([...clients.values()].map((client) => outerProxy(target, client)));
}
