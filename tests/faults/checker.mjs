// Decides whether a history keeps the promises of docs/architecture.md.
import { cursor, isAfter } from "../clients/history.mjs";

/**
 * @typedef {import("./history.mjs").History} History
 * @typedef {{kind: Kind, text: string}} Violation
 * @typedef {"lost" | "stored twice" | "hole" | "refused" | "refused but stored" | "phantom" | "undelivered" | "doubled"
 *   | "out of order" | "late right" | "SSE lost" | "SSE doubled" | "SSE out of order" | "notification lost"
 *   | "notification doubled" | "edit lost" | "edit out of order" | "deletion undone" | "change lost"} Kind
 */

/** Time within which a node must apply the loss of a right. */
const RIGHT_TIMEOUT_MS = 1_000;
/** Time after a change within which a connection must have stayed open for the change to be due on it. */
const NOTICE_TIMEOUT_MS = 10_000;

/** @template T @param {Iterable<T>} items @param {(item: T) => string} key @returns {Map<string, T[]>} */
function group(items, key) {
  const groups = new Map();
  for (const item of items) {
    const name = key(item);
    const known = groups.get(name);
    if (known) known.push(item);
    else groups.set(name, [item]);
  }
  return groups;
}

/** @param {string} text */
const firstWord = (text) => text.split(" ", 1)[0];

/**
 * Checks a finished history.
 *
 * @param {History} history
 * @returns {Violation[]}
 */
export function check(history) {
  const checker = new Checker(history);
  checker.checkStored();
  checker.checkSendOrder();
  checker.checkDeliveries();
  checker.checkRights();
  checker.checkChanges();
  checker.checkNotices();
  checker.checkEvents();
  checker.checkNotifications();
  for (const { client, text } of history.refusals) checker.add("refused", `${client}: ${text}`);
  return checker.violations;
}

class Checker {
  /** @param {History} history */
  constructor(history) {
    this.history = history;
    /** @type {Violation[]} */
    this.violations = [];
    this.edits = group(history.edits, ({ send }) => send);
    /** Deletions that may have taken effect. */
    this.deletions = group(history.deletions.filter(({ outcome }) => outcome !== "refused"), ({ send }) => send);
    this.sendOfText = new Map([...history.sends.values()].map((send) => [firstWord(send.text), send]));
    /** @type {Map<string, import("./history.mjs").Stored>} */
    this.storedOfSend = new Map();
    /** Message ids of sends, as stored or delivered. @type {Map<string, string>} */
    this.sendOfMessage = new Map();
    for (const { send, id } of history.deliveries) if (send) this.sendOfMessage.set(id, send);
    for (const stored of [...history.stored.values()].flat()) {
      if (!stored.send) continue;
      if (!this.storedOfSend.has(stored.send)) this.storedOfSend.set(stored.send, stored);
      this.sendOfMessage.set(stored.id, stored.send);
    }
    this.start = Math.min(...[...history.sends.values()].map(({ at }) => at), Infinity);
  }

  /** @param {Kind} kind @param {string} text */
  add(kind, text) {
    this.violations.push({ kind, text });
  }

  /** A time since the first send, for texts. @param {number | undefined} at */
  time(at) {
    return at === undefined ? "never" : `${((at - this.start) / 1000).toFixed(2)} s`;
  }

  /** The texts that the message may have had. @param {import("./history.mjs").Send} send */
  texts(send) {
    return [send.text, ...(this.edits.get(send.id) ?? []).map(({ text }) => text)];
  }

  /** Accepted messages are stored exactly once; nothing else is. */
  checkStored() {
    const { history } = this;
    const times = new Map();
    for (const [channel, messages] of history.stored) {
      const positions = new Set();
      for (const { id, seq, send: key, author, text } of messages) {
        if (positions.has(seq)) this.add("stored twice", `${channel} has two messages at ${seq}`);
        positions.add(seq);
        if (key) times.set(key, (times.get(key) ?? 0) + 1);
        const send = key && history.sends.get(key);
        if (!send || send.channel !== channel || send.author !== author || !this.texts(send).includes(text)) {
          this.add("phantom", `${channel} stores message ${seq} (${id}) ${JSON.stringify(text)}, which nobody sent like this`);
          continue;
        }
        if (send.outcome === "refused") this.add("refused but stored", `${send.text}: ${send.reason}`);
      }
      this.checkPositions(channel, positions);
    }
    for (const send of history.sends.values()) {
      const count = times.get(send.id) ?? 0;
      if (count > 1) this.add("stored twice", `${send.text} is stored ${count} times`);
      if (count === 0 && send.outcome === "accepted" && !this.deletions.has(send.id)) {
        this.add("lost", `${send.text}, sent at ${this.time(send.at)}, accepted in try ${send.tries}, is not stored`);
      }
      if (send.outcome === "refused") this.add("refused", `${send.text}, sent at ${this.time(send.at)}: ${send.reason}`);
    }
  }

  /** Only deleted messages leave their position empty. @param {string} channel @param {Set<number>} positions */
  checkPositions(channel, positions) {
    const last = Math.max(0, ...positions);
    const missing = last - positions.size;
    const deleted = [...this.deletions.keys()].filter(
      (key) => this.history.sends.get(key)?.channel === channel && !this.storedOfSend.has(key),
    ).length;
    if (missing > deleted) {
      this.add("hole", `${channel} has ${missing} positions of ${last} without a message, but ${deleted} deleted messages`);
    }
  }

  /** A connection's SENDs to one channel are stored in their order. */
  checkSendOrder() {
    const single = [...this.history.sends.values()].filter(
      ({ outcome, tries, connection }) => outcome === "accepted" && tries === 1 && connection,
    );
    for (const sends of group(single, ({ channel, connection }) => `${connection} ${channel}`).values()) {
      let last = 0;
      for (const { id, text } of sends) {
        const seq = this.storedOfSend.get(id)?.seq;
        if (seq === undefined) continue;
        if (seq < last) this.add("out of order", `${text} is stored at ${seq}, before an earlier SEND of its connection at ${last}`);
        last = Math.max(last, seq);
      }
    }
  }

  /** Each client that stayed or came back got every message once, in the order of `seq`. */
  checkDeliveries() {
    const { history } = this;
    const key = (/** @type {{client: string, channel: string}} */ { client, channel }) => `${client} ${channel}`;
    const deliveries = group(history.deliveries, key);
    const gaps = group(history.gaps, key);
    const revoked = new Set(history.rights.map(({ user, channel }) => `${user} ${channel}`));
    const subscriptions = history.subscriptions.filter(({ stream }) => stream === "messages");
    for (const [name, [first]] of group(subscriptions, key)) {
      const received = deliveries.get(name) ?? [];
      deliveries.delete(name);
      const start = first.after ?? (received[0]?.seq ?? 1) - 1;
      const seen = this.checkOrder(received, start);
      const client = history.clients.get(first.client);
      if (!client?.isSteady || revoked.has(`${client.user} ${first.channel}`)) continue;
      const skipped = gaps.get(name) ?? [];
      const missing = (history.stored.get(first.channel) ?? [])
        .map(({ seq }) => seq)
        .filter((seq) => seq > start && !seen.has(seq) && !skipped.some(({ from, to }) => seq >= from && seq <= to));
      if (missing.length) {
        this.add("undelivered", `${first.client} misses ${missing.length} messages of ${first.channel}: ${ranges(missing)}`);
      }
    }
    // Without a subscription.
    for (const [name, [{ seq }]] of deliveries) this.add("phantom", `${name} got message ${seq} without a subscription`);
  }

  /** @param {import("./history.mjs").Delivery[]} received by one client in one channel @param {number} start */
  checkOrder(received, start) {
    const seen = new Set();
    let last = start;
    for (const { client, connection, channel, seq, id, send: key, text, at } of received) {
      const where = `${client} (${connection}), ${channel}, message ${seq} at ${this.time(at)}`;
      if (seen.has(seq)) this.add("doubled", where);
      else if (seq <= last) this.add("out of order", `${where} after ${last}`);
      seen.add(seq);
      last = Math.max(last, seq);
      const send = key && this.history.sends.get(key);
      const stored = key && this.storedOfSend.get(key);
      const isKnown = send && send.channel === channel && this.texts(send).includes(text);
      if (!isKnown) this.add("phantom", `${where}: ${JSON.stringify(text)}, which nobody sent like this`);
      else if (stored ? stored.id !== id || stored.seq !== seq : !this.deletions.has(key)) {
        this.add("phantom", `${where}: ${text} (${id}) is ${stored ? `stored at ${stored.seq} as ${stored.id}` : "not stored"}`);
      }
    }
    return seen;
  }

  /** Whoever lost a right gets nothing 1 s later. */
  checkRights() {
    const { history } = this;
    for (const lost of history.rights.filter(({ isMember, outcome }) => !isMember && outcome === "accepted")) {
      const limit = (lost.endedAt ?? Infinity) + RIGHT_TIMEOUT_MS;
      const back = history.rights.find(
        ({ user, channel, isMember, at }) => user === lost.user && channel === lost.channel && isMember && at >= lost.at,
      );
      const until = back?.at ?? Infinity;
      /** @param {number} at */
      const isLate = (at) => at > limit + history.stalledFor(lost.endedAt ?? 0, at) && at < until;
      const ofUser = new Set([...history.clients.values()].filter(({ user }) => user === lost.user).map(({ name }) => name));
      const seen = [...history.deliveries, ...history.notices];
      for (const { client, connection, channel, at, ...what } of seen) {
        if (channel !== lost.channel || !ofUser.has(client) || !isLate(at)) continue;
        const name = "seq" in what ? `message ${what.seq}` : what.type;
        this.add(
          "late right",
          `${client} (${connection}), ${channel}: ${name} at ${this.time(at)}, ${at - (lost.endedAt ?? 0)} ms after the removal`,
        );
      }
      // A notification may be read late, but none is written for a later message.
      for (const { target, text } of history.notifications.get(lost.user) ?? []) {
        const at = this.sendOfText.get(firstWord(text))?.at ?? 0;
        if (target === lost.channel && isLate(at)) {
          this.add("late right", `${lost.user} is notified of ${text}, sent at ${this.time(at)}, after the removal from ${lost.channel}`);
        }
      }
    }
  }

  /** The last accepted edit stands, and a deleted message stays away. */
  checkChanges() {
    for (const [key, edits] of this.edits) {
      const stored = this.storedOfSend.get(key);
      if (!stored) continue;
      const last = edits.findLastIndex(({ outcome }) => outcome === "accepted");
      // An edit without an answer may take effect late.
      const possible = edits
        .filter(({ outcome }, index) => outcome === "unknown" || outcome === "pending" || index === last)
        .map(({ text }) => text);
      if (last < 0) possible.push(this.history.sends.get(key)?.text);
      if (!possible.includes(stored.text)) {
        this.add("edit lost", `message ${stored.seq} reads ${JSON.stringify(stored.text)}, not ${JSON.stringify(possible)}`);
      }
    }
    for (const [key, deletions] of this.deletions) {
      const stored = this.storedOfSend.get(key);
      const accepted = deletions.find(({ outcome }) => outcome === "accepted");
      if (stored && accepted) this.add("deletion undone", `${stored.text}, deleted at ${this.time(accepted.endedAt)}, is stored`);
    }
  }

  /** Subscribers of a channel's events see edits in order, and nothing of a message after its deletion. */
  checkNotices() {
    const { history } = this;
    /** Last edit, or Infinity for a deletion, of each message on each connection. @type {Map<string, number>} */
    const progress = new Map();
    /** @type {Map<string, number>} */
    const deletedAt = new Map();
    for (const { client, connection, type, id, text, at } of history.notices) {
      const where = `${client} (${connection}), ${id} at ${this.time(at)}`;
      const key = this.sendOfMessage.get(id);
      const edits = (key && this.edits.get(key)) || [];
      const index = type === "message.deleted" ? Infinity : edits.findIndex((edit) => edit.text === text);
      if (index < 0 || (index === Infinity && key && !this.deletions.has(key))) {
        this.add("phantom", `${where}: ${type} ${text ?? ""}, which nobody asked for`);
        continue;
      }
      const name = `${connection} ${id}`;
      const last = progress.get(name) ?? -1;
      if (last === Infinity && index < Infinity) this.add("deletion undone", `${where}: edited after its deletion`);
      else if (index < last) this.add("edit out of order", `${where}: edit ${index} after edit ${last}`);
      progress.set(name, Math.max(last, index));
      if (index === Infinity) deletedAt.set(name, at);
    }
    for (const { client, connection, id, seq, at } of history.deliveries) {
      const deleted = deletedAt.get(`${connection} ${id}`);
      if (deleted !== undefined && at > deleted) {
        this.add("deletion undone", `${client} (${connection}): message ${seq} at ${this.time(at)}, after its deletion`);
      }
    }
    this.checkNoticesArrive(progress);
  }

  /** @param {Map<string, number>} progress */
  checkNoticesArrive(progress) {
    const { history } = this;
    const subscriptions = history.subscriptions.filter(({ stream }) => stream === "events");
    const messages = new Map([...this.sendOfMessage].map(([id, key]) => [key, id]));
    const revoked = new Set(history.rights.map(({ user, channel }) => `${user} ${channel}`));
    for (const [changes, isDeletion] of /** @type {const} */ ([[this.edits, false], [this.deletions, true]])) {
      for (const [key, list] of changes) {
        const send = history.sends.get(key);
        const id = messages.get(key);
        const index = list.findLastIndex(({ outcome }) => outcome === "accepted");
        if (!send || !id || index < 0) continue;
        const { at, endedAt = at } = list[index];
        for (const { client, connection, channel, at: since, endedAt: until = Infinity } of subscriptions) {
          const user = history.clients.get(client)?.user;
          if (channel !== send.channel || since > at || until < endedAt + NOTICE_TIMEOUT_MS || revoked.has(`${user} ${channel}`)) continue;
          const last = progress.get(`${connection} ${id}`) ?? -1;
          if (last < (isDeletion ? Infinity : index)) {
            const what = isDeletion ? "deletion" : "edit";
            this.add("change lost", `${client} (${connection}) never saw the ${what} of ${send.text}, accepted at ${this.time(endedAt)}`);
          }
        }
      }
    }
  }

  /** Each SSE client got the events after its position, once and in order, or a `resync`. */
  checkEvents() {
    const { history } = this;
    const events = group(history.events, ({ client }) => client);
    for (const client of [...history.clients.values()].filter(({ kind }) => kind === "sse")) {
      const received = events.get(client.name) ?? [];
      this.checkEventOrder(received, this.mayHide(client.user));
      if (client.isSteady) this.checkEventsArrive(client, received);
    }
  }

  /** Whether a replay may leave notifications out: of a channel that the user lost, of a deleted message. @param {string} user */
  mayHide(user) {
    const { rooms, sends, rights } = this.history;
    const deletedIn = [...this.deletions.keys()].map((key) => rooms.get(sends.get(key)?.channel ?? ""));
    return rights.some((right) => right.user === user) || deletedIn.some((room) => room?.members.includes(user));
  }

  /** @param {import("./history.mjs").SseEvent[]} received by one client @param {boolean} mayHide */
  checkEventOrder(received, mayHide) {
    /** @type {ReturnType<typeof cursor> | undefined} */
    let last;
    const seen = new Set();
    for (const { client, connection, name, id, data, at } of received) {
      const where = `${client} (${connection}) at ${this.time(at)}, ${id} ${name} ${JSON.stringify(data)}`;
      const here = cursor(id);
      if (name === "resync" || !last) {
        last = here;
        seen.clear();
        seen.add(id);
        continue;
      }
      const before = last;
      const parts = /** @type {const} */ (["user", "all"]);
      const moved = parts.filter((part) => isAfter(here[part], before[part]));
      const isBack = parts.some((part) => isAfter(before[part], here[part]));
      if (seen.has(id) && name !== "sync") this.add("SSE doubled", where);
      else if (isBack) this.add("SSE out of order", `${where} goes back`);
      else if (name !== "sync" && moved.length !== 1) {
        this.add(moved.length ? "SSE lost" : "SSE doubled", `${where} advances ${moved.length} positions`);
      }
      for (const part of moved) {
        // A log without an entry may begin anew. A sync is no entry itself.
        const first = here[part].epoch === before[part].epoch ? before[part].n + 1 : 1;
        const missing = here[part].n - first + (name === "sync" ? 1 : 0);
        if (missing > 0 && !(mayHide && part === "user")) this.add("SSE lost", `${where}: ${missing} events before it in the log "${part}" are missing`);
      }
      if (name !== "sync") seen.add(id);
      if (!isBack) last = here;
    }
  }

  /** @param {import("./history.mjs").Client} client @param {import("./history.mjs").SseEvent[]} received */
  checkEventsArrive({ name, user }, received) {
    const { history } = this;
    if (!received.length) return this.add("SSE lost", `${name} got no event at all`);
    // A client fetches everything again after a resync, so earlier events no longer count.
    const resyncs = received.filter((event) => event.name === "resync");
    const since = Math.max(received[0].at, ...resyncs.map(({ at }) => at));
    const channels = received.filter((event) => event.name === "channels.refresh").map(({ data }) => data.channelId);
    for (const { name: event, channel, at } of history.causes) {
      if (at <= since) continue;
      const count = channels.filter((id) => id === channel).length;
      if (count === 0) this.add("SSE lost", `${name} got no ${event} for ${channel}, changed at ${this.time(at)}`);
      if (count > 1) this.add("SSE doubled", `${name} got ${event} for ${channel} ${count} times`);
    }
    const notified = received.filter((event) => event.name === "notifications").map(({ data }) => data.id);
    for (const { id, text } of history.notifications.get(user) ?? []) {
      const send = this.sendOfText.get(firstWord(text));
      if (!send || send.at <= since || this.deletions.has(send.id)) continue;
      const count = notified.filter((known) => known === id).length;
      if (count === 0) this.add("SSE lost", `${name} got no event for its notification of ${text}, sent at ${this.time(send.at)}`);
      if (count > 1) this.add("SSE doubled", `${name} got the notification of ${text} ${count} times`);
    }
  }

  /** A message in a private channel notifies each other participant once. */
  checkNotifications() {
    const { history } = this;
    const revoked = new Set(history.rights.map(({ user, channel }) => `${user} ${channel}`));
    /** @type {Map<string, number>} */
    const counts = new Map();
    for (const [user, notifications] of history.notifications) {
      for (const { target, text } of notifications) {
        const room = history.rooms.get(target);
        const send = this.sendOfText.get(firstWord(text));
        if (!room) continue;
        if (!send || send.channel !== target || send.author === user || !room.members.includes(user)) {
          this.add("phantom", `${user} is notified of ${JSON.stringify(text)} in ${target} without a cause`);
          continue;
        }
        const name = `${user} ${send.id}`;
        counts.set(name, (counts.get(name) ?? 0) + 1);
      }
    }
    for (const [name, count] of counts) {
      const [user, key] = name.split(" ");
      if (count > 1) this.add("notification doubled", `${user} is notified ${count} times of ${history.sends.get(key)?.text}`);
    }
    for (const [key] of this.storedOfSend) {
      const send = history.sends.get(key);
      const room = send && history.rooms.get(send.channel);
      if (!send || !room?.isPrivate || this.deletions.has(key)) continue;
      for (const user of room.members) {
        if (user === send.author || revoked.has(`${user} ${room.id}`) || !history.notifications.has(user)) continue;
        if (!counts.has(`${user} ${key}`)) {
          this.add("notification lost", `${user} is not notified of ${send.text}, sent at ${this.time(send.at)}`);
        }
      }
    }
  }
}

/** Sorted numbers in short: `1–3, 7`. @param {number[]} numbers */
function ranges(numbers) {
  /** @type {[number, number][]} */
  const found = [];
  for (const number of numbers.toSorted((a, b) => a - b)) {
    const last = found.at(-1);
    if (last && number === last[1] + 1) last[1] = number;
    else found.push([number, number]);
  }
  return found.map(([from, to]) => (from === to ? from : `${from}–${to}`)).join(", ");
}
