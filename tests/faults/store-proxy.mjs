// A TCP proxy between one node and one store, which can delay, cut and stall its connections.
import net from "node:net";

/** @typedef {"pass" | "cut" | "stall"} Mode */

export class StoreProxy {
  /** @param {number} port on which it listens @param {number} target the store's port */
  constructor(port, target) {
    this.port = port;
    this.target = target;
    /** @type {Mode} */
    this.mode = "pass";
    this.delayMs = 0;
    /** @type {Set<Pipe>} */
    this.pipes = new Set();
    this.server = net.createServer({ noDelay: true, pauseOnConnect: true }, (inside) => this.#connect(inside));
  }

  /** @returns {Promise<this>} */
  listen() {
    return new Promise((resolve, reject) => {
      this.server.once("error", reject).listen(this.port, "127.0.0.1", () => resolve(this));
    });
  }

  /** @param {net.Socket} inside */
  #connect(inside) {
    if (this.mode === "cut") return inside.resetAndDestroy();
    const outside = net.connect({ host: "127.0.0.1", port: this.target, noDelay: true });
    for (const pipe of [new Pipe(this, inside, outside), new Pipe(this, outside, inside)]) {
      this.pipes.add(pipe);
      pipe.from.on("error", () => {});
      pipe.from.on("close", (hadError) => {
        this.pipes.delete(pipe);
        // Neither side of a half-open connection hears of the other's end.
        if (this.mode === "stall") this.#closing.add(() => pipe.end(hadError));
        else pipe.end(hadError);
      });
    }
    this.#apply();
  }

  /** Ends of connections that the other side must not notice yet. @type {Set<() => void>} */
  #closing = new Set();

  #apply() {
    for (const pipe of this.pipes) {
      if (this.mode === "stall") pipe.from.pause();
      else pipe.from.resume();
    }
    if (this.mode === "stall") return;
    for (const close of this.#closing) close();
    this.#closing.clear();
  }

  /** Passes each piece on this much later. @param {number} ms */
  delay(ms) {
    this.delayMs = ms;
  }

  /** Resets every connection, and each new one. */
  cut() {
    this.mode = "cut";
    for (const pipe of this.pipes) pipe.from.resetAndDestroy();
  }

  /** Passes nothing on, and refuses nothing. Nothing closes. */
  stall() {
    this.mode = "stall";
    this.#apply();
  }

  /** Passes everything on, including the pieces held by a stall. */
  restore() {
    this.mode = "pass";
    this.delayMs = 0;
    this.#apply();
  }

  close() {
    this.cut();
    this.server.close();
  }
}

/** One direction of a connection. */
class Pipe {
  /** @param {StoreProxy} proxy @param {net.Socket} from @param {net.Socket} to */
  constructor(proxy, from, to) {
    this.from = from;
    this.to = to;
    /** Time at which the last piece leaves: a shorter delay must not let a later piece overtake. */
    this.leavesAt = 0;
    from.on("data", (piece) => {
      const now = performance.now();
      if (proxy.delayMs === 0 && this.leavesAt <= now) return void this.write(piece);
      this.leavesAt = Math.max(this.leavesAt, now + proxy.delayMs);
      setTimeout(() => this.write(piece), this.leavesAt - now);
    });
    to.on("drain", () => {
      if (proxy.mode !== "stall") from.resume();
    });
  }

  /** @param {Buffer} piece */
  write(piece) {
    if (!this.to.destroyed && !this.to.write(piece)) this.from.pause();
  }

  /** Closes the other side once it has everything. @param {boolean} hadError */
  end(hadError) {
    const close = () => (hadError ? this.to.destroy() : this.to.destroySoon());
    setTimeout(close, Math.max(0, this.leavesAt - performance.now()));
  }
}
