import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";
import { Outbox } from "./outbox.js";
import { uuid } from "./uuid.js";
import type { OutboxMessage, Refusal } from "./outbox.js";

const CONFIRM_TIMEOUT_MS = 30_000;

/** An application with an outbox, and the server's side. */
class App {
  messages: OutboxMessage[] = [];
  online = true;
  published: string[] = [];
  posted: string[] = [];
  answers: ("stored" | Error)[] = [];
  refused: string[] = [];
  readonly outbox = new Outbox<OutboxMessage>({
    messages: () => this.messages,
    change: (id, changes) => {
      this.messages = this.messages.map((each) => (each.clientMessageId === id ? { ...each, ...changes } : each));
    },
    publish: ({ clientMessageId }) => this.online && this.published.push(clientMessageId) > 0,
    post: async ({ clientMessageId }) => {
      this.posted.push(clientMessageId);
      const answer = this.answers.shift() ?? "stored";
      if (answer instanceof Error) throw answer;
    },
    onRefused: ({ clientMessageId }, { code }) => {
      this.refused.push(`${clientMessageId} ${code}`);
      this.remove(clientMessageId);
    },
    onStored: ({ clientMessageId }) => this.remove(clientMessageId),
  });

  send(...ids: string[]) {
    for (const clientMessageId of ids) {
      this.messages = [...this.messages, { clientMessageId, state: "waiting", tries: 0 }];
      this.outbox.flush();
    }
  }

  remove(id: string) {
    this.outbox.forget(id);
    this.messages = this.messages.filter(({ clientMessageId }) => clientMessageId !== id);
  }

  refuse = (clientMessageId: string, code: string, more: Refusal["details"] = {}) =>
    this.outbox.refuse({ code, message: code, details: { clientMessageId, ...more } });
}

/** Lets promises run between timers. */
async function pass(ms: number) {
  mock.timers.tick(ms);
  for (let turn = 0; turn < 20; turn++) await Promise.resolve();
}

beforeEach(() => mock.timers.enable({ apis: ["setTimeout"] }));
afterEach(() => mock.timers.reset());

test("without a connection messages wait, and go out in their order", () => {
  const app = new App();
  app.online = false;
  app.send("a", "b");
  assert.deepEqual(app.published, []);
  app.online = true;
  app.outbox.connected();
  assert.deepEqual(app.published, ["a", "b"]);
});

test("a new connection sends what is not confirmed again, and nothing else", () => {
  const app = new App();
  app.send("a", "b", "c");
  app.remove("b");
  app.outbox.connected();
  assert.deepEqual(app.published, ["a", "b", "c", "a", "c"]);
});

test("a transient refusal is retried, and later messages do not overtake it", async () => {
  const app = new App();
  app.send("a");
  assert.equal(app.refuse("a", "SERVICE_UNAVAILABLE"), true);
  app.send("b");
  assert.deepEqual(app.published, ["a"]);
  await pass(800);
  assert.deepEqual(app.published, ["a", "a", "b"]);
  assert.equal(app.messages[0].tries, 1);
});

test("a refusal for good is given to the application; one of another frame is not its", () => {
  const app = new App();
  app.send("a", "b");
  assert.equal(app.refuse("a", "INVALID_INPUT"), true);
  assert.equal(app.refuse("other", "INVALID_INPUT"), false);
  assert.equal(app.refuse("b", "MESSAGE_NOT_FOUND", { replyTo: "m" }), true);
  assert.deepEqual(app.refused, ["a INVALID_INPUT", "b MESSAGE_NOT_FOUND"]);
});

test("a message that was stored and deleted since is done", () => {
  const app = new App();
  app.send("a");
  app.refuse("a", "MESSAGE_NOT_FOUND");
  assert.deepEqual([app.messages, app.refused], [[], []]);
});

test("a message of which nothing is heard is posted, in order, until the server answers", async () => {
  const app = new App();
  app.send("a", "b", "c");
  app.answers = [Object.assign(new Error("no network"), { code: "NETWORK", transient: true }), "stored", "stored"];
  await pass(CONFIRM_TIMEOUT_MS - 1);
  assert.deepEqual(app.posted, []);
  app.remove("c");
  await pass(1);
  await pass(15_000);
  assert.deepEqual(app.posted, ["a", "a", "b"]);
  assert.deepEqual(app.messages, []);
});

test("a message that the server refuses over HTTP is refused", async () => {
  const app = new App();
  app.send("a");
  app.answers = [Object.assign(new Error("too long"), { code: "INVALID_INPUT", transient: false })];
  await pass(CONFIRM_TIMEOUT_MS);
  assert.deepEqual(app.refused, ["a INVALID_INPUT"]);
});

test("ids are version 4 UUIDs", () => {
  assert.match(uuid(), /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  assert.notEqual(uuid(), uuid());
});
