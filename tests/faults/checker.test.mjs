// The checker finds each violation in a forged history, and none in a clean one.
import assert from "node:assert/strict";
import test from "node:test";
import { check } from "./checker.mjs";
import { History } from "./history.mjs";

const [PUBLIC, PRIVATE] = ["public", "private"];
const EPOCH = (1_795_486_299_606).toString(36);

/** @param {number} user @param {number} all */
const eventId = (user, all) => `${EPOCH}-${user.toString(36)}.${EPOCH}-${all.toString(36)}.c5x`;

/**
 * Twenty messages in a public channel and ten in a private one, by ann and ben, one each 100 ms. ann, ben and eve subscribe to
 * both; eve is removed from the private channel after its fifth message. ben's connection breaks after the public message 10
 * and resumes. Public message 3 is edited twice, 4 is deleted. ben has an SSE stream with a resume; he is notified of ann's
 * private messages.
 */
function clean() {
  const history = new History();
  history.rooms.set(PUBLIC, { id: PUBLIC, isPrivate: false, members: [] });
  history.rooms.set(PRIVATE, { id: PRIVATE, isPrivate: true, members: ["ann", "ben", "eve"] });
  for (const user of ["ann", "ben", "eve"]) {
    history.clients.set(user, { name: user, user, kind: "stomp", isSteady: true });
    history.notifications.set(user, []);
    for (const channel of [PUBLIC, PRIVATE]) {
      history.stored.set(channel, []);
      history.subscriptions.push({ client: user, connection: `${user} 1`, channel, stream: "messages", after: 0, at: 0 });
      history.subscriptions.push({ client: user, connection: `${user} 1`, channel, stream: "events", at: 0 });
    }
  }
  history.clients.set("ben's events", { name: "ben's events", user: "ben", kind: "sse", isSteady: true });
  /** @param {string} name @param {any} data @param {string} id @param {number} at */
  const event = (name, data, id, at) =>
    history.events.push({ client: "ben's events", connection: "ben's events 1", name, id, data, at });
  event("sync", {}, eventId(0, 7), 1);
  send(history, PUBLIC, 20);
  send(history, PRIVATE, 10);
  history.subscriptions.push({ client: "ben", connection: "ben 2", channel: PUBLIC, stream: "messages", after: 10, at: 1_050 });

  history.edits.push({ send: "public-3", text: "public-3 edited", at: 3_000, endedAt: 3_010, outcome: "accepted" });
  history.edits.push({ send: "public-3", text: "public-3 edited twice", at: 3_100, endedAt: 3_110, outcome: "accepted" });
  history.deletions.push({ send: "public-4", at: 3_200, endedAt: 3_210, outcome: "accepted" });
  for (const client of ["ann", "ben", "eve"]) {
    const notice = { client, connection: `${client} 1`, channel: PUBLIC };
    history.notices.push({ ...notice, type: "message.updated", id: "id-public-3", text: "public-3 edited", at: 3_020 });
    history.notices.push({ ...notice, type: "message.updated", id: "id-public-3", text: "public-3 edited twice", at: 3_120 });
    history.notices.push({ ...notice, type: "message.deleted", id: "id-public-4", at: 3_220 });
  }
  stored(history, PUBLIC, 3).text = "public-3 edited twice";
  history.stored.set(PUBLIC, history.stored.get(PUBLIC)?.filter(({ seq }) => seq !== 4) ?? []);

  history.rights.push({ channel: PRIVATE, user: "eve", isMember: false, at: 520, endedAt: 530, outcome: "accepted" });
  history.deliveries = history.deliveries.filter(
    ({ client, channel, at }) => client !== "eve" || channel !== PRIVATE || at < 530,
  );

  let user = 0;
  for (const { id, text } of history.notifications.get("ben") ?? []) {
    user++;
    event("notifications", { id, content: text }, eventId(user, 7), 200 * user + 50);
    if (user === 3) event("sync", {}, eventId(user, 7), 200 * user + 60);
  }
  history.causes.push({ name: "channels.refresh", channel: "new", at: 3_000 });
  event("channels.refresh", { channelId: "new" }, eventId(user, 8), 3_050);
  return history;
}

/** @param {History} history @param {string} channel @param {number} count */
function send(history, channel, count) {
  for (let seq = 1; seq <= count; seq++) {
    const [id, author, at] = [`${channel}-${seq}`, seq % 2 ? "ann" : "ben", 100 * seq];
    history.sends.set(id, {
      id, author, channel, text: `${id} hello`, at, triedAt: at, tries: 1, outcome: "accepted", connection: `${author} 1`,
    });
    const message = { id: `id-${id}`, seq, send: id, author, text: `${id} hello` };
    history.stored.get(channel)?.push(message);
    for (const client of ["ann", "ben", "eve"]) {
      const connection = client === "ben" && channel === PUBLIC && seq > 10 ? "ben 2" : `${client} 1`;
      history.deliver({ client, connection, channel, seq, id: message.id, send: id, text: message.text, at: at + 10 });
      const isMember = client !== "eve" || seq <= 5;
      if (channel === PRIVATE && client !== author && isMember) {
        history.notifications.get(client)?.push({ id: `${client}-${seq}`, target: channel, text: message.text });
      }
    }
  }
}

/** @param {History} history @param {string} channel @param {number} seq */
function stored(history, channel, seq) {
  const found = history.stored.get(channel)?.find((message) => message.seq === seq);
  assert.ok(found);
  return found;
}

/** @param {History} history @param {string} client @param {string} channel @param {number} seq */
function delivery(history, client, channel, seq) {
  const index = history.deliveries.findIndex(
    (known) => known.client === client && known.channel === channel && known.seq === seq,
  );
  assert.ok(index >= 0);
  return index;
}

/** @param {History} history @param {(event: import("./history.mjs").SseEvent) => boolean} condition */
function sseEvent(history, condition) {
  const index = history.events.findIndex(condition);
  assert.ok(index >= 0);
  return index;
}

/** @template T @param {T[]} list @param {number} index */
const remove = (list, index) => list.splice(index, 1)[0];

test("a clean history has no violation", () => {
  const history = clean();
  assert.ok(history.deliveries.length > 80 && history.events.length > 6);
  assert.deepEqual(check(history), []);
});

/** @type {[what: string, kinds: import("./checker.mjs").Kind[], forge: (history: History) => void][]} */
const forgeries = [
  ["an accepted message is not stored", ["hole", "lost", "phantom"], (history) => {
    history.stored.set(PUBLIC, history.stored.get(PUBLIC)?.filter(({ seq }) => seq !== 7) ?? []);
  }],
  ["the last accepted message is not stored, and nobody saw it", ["lost"], (history) => {
    history.stored.get(PUBLIC)?.pop();
    history.deliveries = history.deliveries.filter(({ send }) => send !== "public-20");
  }],
  ["a retry is stored a second time", ["stored twice", "undelivered"], (history) => {
    history.stored.get(PUBLIC)?.push({ ...stored(history, PUBLIC, 20), id: "again", seq: 21 });
  }],
  ["two messages have one position", ["hole", "phantom", "stored twice"], (history) => {
    stored(history, PUBLIC, 8).seq = 9;
  }],
  ["a position is empty, although no message was deleted", ["hole"], (history) => {
    for (const list of [history.stored.get(PRIVATE) ?? [], history.deliveries.filter(({ channel }) => channel === PRIVATE)]) {
      for (const message of list) if (message.seq > 6) message.seq++;
    }
  }],
  ["a refused message is stored", ["refused", "refused but stored"], (history) => {
    Object.assign(history.sends.get("public-9") ?? {}, { outcome: "refused", reason: "404" });
  }],
  ["a valid message is refused", ["refused"], (history) => {
    const send = history.sends.get("public-9");
    assert.ok(send);
    history.sends.set("late", { ...send, id: "late", text: "late hello", outcome: "refused", reason: "404" });
  }],
  ["a client with every right is refused", ["refused"], (history) => {
    history.refusals.push({ client: "ann", text: "CHANNEL_NOT_FOUND", at: 1_000 });
  }],
  ["a stored message that nobody sent", ["phantom"], (history) => {
    const message = { id: "x", seq: 21, send: "x", author: "ann", text: "x" };
    history.stored.get(PUBLIC)?.push(message);
    for (const client of history.clients.values()) client.isSteady = false;
  }],
  ["a stored message under another author", ["phantom"], (history) => {
    stored(history, PUBLIC, 8).author = "eve";
  }],
  ["a connection's SENDs change their order", ["out of order"], (history) => {
    history.sends.delete("public-5");
    const send = { id: "public-5", author: "ann", channel: PUBLIC, text: "public-5 hello", at: 2_500, triedAt: 2_500, tries: 1 };
    history.sends.set("public-5", { ...send, outcome: "accepted", connection: "ann 1" });
  }],
  ["a client that stayed misses a message", ["undelivered"], (history) => {
    remove(history.deliveries, delivery(history, "ann", PUBLIC, 6));
  }],
  ["a client that came back misses the first message after it", ["undelivered"], (history) => {
    remove(history.deliveries, delivery(history, "ben", PUBLIC, 11));
  }],
  ["a client misses the last messages", ["undelivered"], (history) => {
    history.deliveries = history.deliveries.filter(({ client, seq }) => client !== "ann" || seq < 9);
  }],
  ["a message comes twice on one connection", ["doubled"], (history) => {
    const index = delivery(history, "ann", PUBLIC, 6);
    history.deliveries.splice(index, 0, history.deliveries[index]);
  }],
  ["a message comes again after the resume", ["doubled"], (history) => {
    const again = history.deliveries[delivery(history, "ben", PUBLIC, 10)];
    history.deliveries.splice(delivery(history, "ben", PUBLIC, 11), 0, { ...again, connection: "ben 2" });
  }],
  ["two messages change places", ["out of order"], (history) => {
    const late = remove(history.deliveries, delivery(history, "ann", PUBLIC, 6));
    history.deliveries.splice(delivery(history, "ann", PUBLIC, 7) + 1, 0, late);
  }],
  ["a delivered message that nobody sent", ["phantom"], (history) => {
    const known = history.deliveries[delivery(history, "ann", PUBLIC, 20)];
    history.deliveries.push({ ...known, seq: 21, id: "x", send: undefined, text: "x" });
  }],
  ["a delivered message that is not stored", ["phantom"], (history) => {
    const send = history.sends.get("public-20");
    assert.ok(send);
    history.sends.set("x", { ...send, id: "x", text: "x", outcome: "unknown" });
    const known = history.deliveries[delivery(history, "ann", PUBLIC, 20)];
    history.deliveries.push({ ...known, seq: 21, id: "x", send: "x", text: "x" });
  }],
  ["a delivered message has the text of another", ["phantom"], (history) => {
    history.deliveries[delivery(history, "ann", PUBLIC, 6)].text = "public-8 hello";
  }],
  ["a client gets a channel to which it has not subscribed", ["phantom"], (history) => {
    history.subscriptions = history.subscriptions.filter(({ client, channel }) => client !== "eve" || channel !== PUBLIC);
  }],
  ["a removed user gets a message 1.1 s later", ["late right"], (history) => {
    const known = history.deliveries[delivery(history, "ann", PRIVATE, 6)];
    history.deliveries.push({ ...known, client: "eve", connection: "eve 1", at: 530 + 1_100 });
  }],
  ["a removed user gets an edit", ["late right"], (history) => {
    history.edits.push({ send: "private-2", text: "private-2 edited", at: 2_000, endedAt: 2_010, outcome: "accepted" });
    stored(history, PRIVATE, 2).text = "private-2 edited";
    const notice = { channel: PRIVATE, type: "message.updated", id: "id-private-2", text: "private-2 edited", at: 2_020 };
    for (const client of ["ann", "ben", "eve"]) history.notices.push({ ...notice, client, connection: `${client} 1` });
  }],
  ["a removed user is notified of a later message", ["late right"], (history) => {
    const text = "private-20 hello";
    const send = { id: "private-20", author: "ann", channel: PRIVATE, text, at: 2_000, triedAt: 2_000, tries: 1 };
    history.sends.set("private-20", { ...send, outcome: "unknown" });
    history.notifications.get("eve")?.push({ id: "x", target: PRIVATE, text });
  }],
  ["an accepted edit is gone", ["edit lost"], (history) => {
    stored(history, PUBLIC, 3).text = "public-3 edited";
  }],
  ["an edit overtakes a later one", ["edit out of order"], (history) => {
    const first = history.notices.findIndex(({ client, text }) => client === "ann" && text === "public-3 edited");
    history.notices.splice(first + 2, 0, remove(history.notices, first));
  }],
  ["an edit is never seen", ["change lost"], (history) => {
    history.notices = history.notices.filter(({ client, text }) => client !== "ann" || !text?.endsWith("twice"));
  }],
  ["a deletion is never seen", ["change lost"], (history) => {
    history.notices = history.notices.filter(({ client, type }) => client !== "ann" || type !== "message.deleted");
  }],
  ["an edit that nobody asked for", ["phantom"], (history) => {
    history.notices.push({ client: "ann", connection: "ann 1", channel: PUBLIC, type: "message.updated", id: "id-public-3", text: "x", at: 3_300 });
  }],
  ["a deleted message is stored again", ["deletion undone"], (history) => {
    history.stored.get(PUBLIC)?.push({ id: "id-public-4", seq: 4, send: "public-4", author: "ben", text: "public-4 hello" });
  }],
  ["a deleted message is edited", ["deletion undone"], (history) => {
    history.edits.push({ send: "public-4", text: "public-4 edited", at: 3_100, endedAt: 3_110, outcome: "unknown" });
    history.notices.push({ client: "ann", connection: "ann 1", channel: PUBLIC, type: "message.updated", id: "id-public-4", text: "public-4 edited", at: 3_300 });
  }],
  ["a deleted message is delivered", ["deletion undone", "out of order"], (history) => {
    const late = remove(history.deliveries, delivery(history, "ann", PUBLIC, 4));
    history.deliveries.push({ ...late, at: 3_400 });
  }],
  ["an SSE client misses a notification", ["SSE lost", "SSE lost"], (history) => {
    remove(history.events, sseEvent(history, ({ data }) => data.id === "ben-5"));
  }],
  ["a replay ends before its last event", ["SSE lost", "SSE lost"], (history) => {
    remove(history.events, sseEvent(history, ({ data }) => data.id === "ben-5"));
    const sync = history.events[sseEvent(history, ({ name, at }) => name === "sync" && at > 100)];
    sync.id = eventId(3, 7);
  }],
  ["an SSE client misses the last event", ["SSE lost"], (history) => {
    history.events.pop();
  }],
  ["a sync names a position whose event did not come", ["SSE lost"], (history) => {
    const last = history.events.at(-1);
    assert.ok(last);
    history.events.push({ ...last, name: "sync", data: {}, id: eventId(6, 8) });
  }],
  ["an SSE event comes again after the resume", ["SSE doubled", "SSE doubled"], (history) => {
    const index = sseEvent(history, ({ data }) => data.id === "ben-5");
    history.events.splice(index + 1, 0, history.events[index]);
  }],
  ["an SSE event is appended twice", ["SSE doubled"], (history) => {
    const last = history.events.at(-1);
    assert.ok(last);
    history.events.push({ ...last, id: eventId(5, 9) });
  }],
  ["an SSE position goes back", ["SSE out of order"], (history) => {
    const last = history.events.at(-1);
    assert.ok(last);
    history.events.push({ ...last, name: "users.refresh", data: {}, id: eventId(4, 8) });
  }],
  ["an SSE client gets nothing", ["SSE lost"], (history) => {
    history.events = [];
  }],
  ["a message does not notify a participant", ["notification lost"], (history) => {
    history.notifications.get("ann")?.pop();
  }],
  ["a message notifies a participant twice", ["notification doubled"], (history) => {
    const [first] = history.notifications.get("ann") ?? [];
    history.notifications.get("ann")?.push({ ...first, id: "again" });
  }],
  ["a message notifies its author", ["phantom"], (history) => {
    history.notifications.get("ann")?.push({ id: "x", target: PRIVATE, text: "private-1 hello" });
  }],
];

for (const [what, kinds, forge] of forgeries) {
  test(`found: ${what}`, () => {
    const history = clean();
    forge(history);
    const violations = check(history);
    assert.deepEqual([...new Set(violations.map(({ kind }) => kind))].sort(), [...new Set(kinds)].sort(), JSON.stringify(violations, null, 1));
  });
}

test("every kind of violation is forged", async () => {
  const source = await import("node:fs/promises").then(({ readFile }) => readFile(new URL("checker.mjs", import.meta.url), "utf8"));
  const named = new Set([...source.matchAll(/this\.add\(\s*(?:moved\.length \? )?"([^"]+)"/g)].map(([, kind]) => kind));
  const forged = new Set(forgeries.flatMap(([, kinds]) => kinds));
  assert.deepEqual([...named].filter((kind) => !forged.has(/** @type {any} */ (kind))), []);
});

test("an SSE client that misses events may get a resync", () => {
  const history = clean();
  const index = sseEvent(history, ({ data }) => data.id === "ben-5");
  history.events[index] = { ...history.events[index], name: "resync", data: { reason: "expired" } };
  history.events[index].at = 3_000;
  assert.deepEqual(check(history).filter(({ kind }) => kind === "SSE lost"), []);
});

test("a replay leaves out the notifications of a channel that the user has lost", () => {
  const history = clean();
  history.rights.push({ channel: PRIVATE, user: "ben", isMember: false, at: 3_900, endedAt: 3_910, outcome: "accepted" });
  remove(history.events, sseEvent(history, ({ data }) => data.id === "ben-5"));
  history.notifications.set("ben", []);
  assert.deepEqual(check(history), []);
});

test("a replay that leaves messages out says so", () => {
  const history = clean();
  for (const seq of [11, 12, 13]) remove(history.deliveries, delivery(history, "ben", PUBLIC, seq));
  history.gaps.push({ client: "ben", channel: PUBLIC, from: 11, to: 13 });
  assert.deepEqual(check(history), []);
});

test("an unanswered message may be stored or not", () => {
  const history = clean();
  for (const key of ["public-20", "public-19"]) Object.assign(history.sends.get(key) ?? {}, { outcome: "unknown" });
  history.stored.get(PUBLIC)?.pop();
  history.deliveries = history.deliveries.filter(({ send }) => send !== "public-20");
  assert.deepEqual(check(history), []);
});

test("a late process does not make a late right", () => {
  const history = clean();
  const known = history.deliveries[delivery(history, "ann", PRIVATE, 6)];
  history.deliveries.push({ ...known, client: "eve", connection: "eve 1", at: 530 + 1_100 });
  history.stalls.push({ at: 1_640, ms: 200 });
  assert.deepEqual(check(history), []);
});
