// A TCP proxy with its own source address, so that nginx's ip_hash takes each browser for another network. It can cut its
// connections.
import http from "node:http";
import net from "node:net";

/**
 * @param {URL} target
 * @param {string} source the local address to connect from, in 127.0.0.0/8
 * @param {(bytes: Buffer, fromClient: boolean) => void} [inspect] receives the traffic
 */
export async function startProxy(target, source, inspect) {
  let up = true;
  let delay = 0;
  let silent = false;
  /** What arrives during the silence. @type {(() => void)[]} */
  const held = [];
  let refusesSockets = false;
  let refusesWebSockets = false;
  /** Both sockets of each connection that carries a stream. @type {Set<net.Socket>} */
  const streams = new Set();
  /** @type {Set<net.Socket>} */
  let frozen = new Set();
  /** How many times each was opened. */
  const opened = { sse: 0, websocket: 0 };
  /** @type {Set<net.Socket>} */
  const sockets = new Set();
  /** @param {Buffer} bytes @param {net.Socket[]} connection */
  const count = (bytes, connection) => {
    const text = bytes.toString("latin1");
    const kind = /^GET (?:\/api\/(sse)|\/ws\/(?:.*\/)?(websocket) )/m.exec(text);
    if ((refusesSockets && /^(?:GET|POST) \/ws\//m.test(text)) || (refusesWebSockets && kind?.[2])) {
      for (const socket of connection) socket.destroy();
      return;
    }
    if (!kind) return;
    opened[kind[1] ? "sse" : "websocket"]++;
    for (const socket of connection) streams.add(socket);
  };
  const server = net.createServer({ noDelay: true }, (inside) => {
    if (!up) return inside.destroy();
    const there = { host: target.hostname, port: Number(target.port || 80) };
    const outside = net.connect({ ...there, localAddress: source, noDelay: true });
    for (const [here, there] of [[inside, outside], [outside, inside]]) {
      sockets.add(here);
      // A stream with a delay keeps its order, because timers of one length do.
      here.on("data", (bytes) => {
        const forward = () => {
          if (silent) return void held.push(forward);
          if (frozen.has(here) || there.destroyed || there.write(bytes)) return;
          here.pause();
          there.once("drain", () => here.resume());
        };
        if (delay) setTimeout(forward, delay);
        else forward();
      });
      here.on("end", () => setTimeout(() => there.end(), delay));
      if (inspect) here.on("data", (bytes) => inspect(bytes, here === inside));
      if (here === inside) here.on("data", (bytes) => count(bytes, [inside, outside]));
      here.on("error", () => there.destroy());
      here.on("close", () => (sockets.delete(here), streams.delete(here), setTimeout(() => there.destroy(), delay)));
    }
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(undefined)));
  const { port } = /** @type {net.AddressInfo} */ (server.address());
  return {
    source,
    opened,
    url: `http://127.0.0.1:${port}`,
    /** Closes every connection and rejects new ones. */
    cut() {
      up = false;
      for (const socket of sockets) socket.destroy();
    },
    restore() {
      up = true;
      refusesSockets = false;
      silent = false;
      for (const forward of held.splice(0)) forward();
    },
    /** Holds everything back until restore(), as a line that is gone and comes back: TCP sends it again. */
    silence() {
      silent = true;
    },
    /** Refuses STOMP's connections; everything else works. */
    refuseSockets() {
      refusesSockets = true;
      for (const socket of streams) socket.destroy();
    },
    /** Refuses WebSockets, as some proxies of companies do. */
    refuseWebSockets() {
      refusesWebSockets = true;
    },
    /** Delays everything, in each direction. @param {number} ms */
    slow(ms) {
      delay = ms;
    },
    /** Drops what the present streams carry from now on, as a router that has forgotten them. */
    freeze() {
      frozen = new Set(streams);
    },
    close() {
      this.cut();
      server.close();
    },
  };
}

/**
 * Finds the node that nginx assigns to a source address.
 *
 * @param {URL} target
 * @param {string} source
 * @returns {Promise<string | undefined>}
 */
function nodeFor(target, source) {
  return new Promise((resolve, reject) => {
    const url = new URL("/api/auth/csrf-token", target);
    const request = http.get(url, { localAddress: source, agent: false, timeout: 10_000 }, (response) => {
      response.resume();
      resolve(/** @type {string | undefined} */ (response.headers["discodeit-node"]));
    });
    request.on("timeout", () => request.destroy(new Error("no answer in 10 s")));
    request.on("error", reject);
  });
}

/**
 * Source addresses that nginx assigns to different nodes.
 *
 * @param {URL} target
 * @param {number} [count] of nodes
 * @returns {Promise<{source: string, node: string}[]>}
 */
export async function distinctSources(target, count = 2) {
  const found = new Map();
  for (let net = 1; net <= 64 && found.size < count; net++) {
    const source = `127.0.${net}.1`;
    const node = await nodeFor(target, source);
    if (!node) throw new Error("the responses have no Discodeit-Node header");
    if (!found.has(node)) found.set(node, { source, node });
  }
  if (found.size < count) throw new Error(`nginx assigns every source address to ${[...found.keys()].join(" or ")}`);
  return [...found.values()];
}
