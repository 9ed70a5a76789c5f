// The load of one fault: rooms, clients, and what they do. Everything goes into a history.
import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { History } from "./history.mjs";
import { within } from "./person.mjs";
import { SseUser } from "./sse-user.mjs";
import { StompUser } from "./stomp-user.mjs";
import { until } from "./system.mjs";

/** @typedef {import("./person.mjs").Person} Person */

export const SENDS_PER_SECOND = 30;
const PUBLIC_ROOMS = 5;
const PRIVATE_ROOMS = 3;
const STOMP_CLIENTS = 40;
const SSE_CLIENTS = 10;
/** Of ten clients, their transports. */
const TRANSPORTS = [
  ...Array.from({ length: 6 }, () => "raw WebSocket"), "SockJS websocket", "SockJS websocket", "SockJS xhr-streaming", "SockJS xhr-streaming",
];
/** Share of messages in private rooms: each of those is also notified to each participant. */
const PRIVATE_SHARE = 0.1;
/** Share of messages by SEND; the others are posted. */
const STOMP_SHARE = 0.7;
const CHANGE_EVERY_MS = 700;
const CAUSE_EVERY_MS = 1_500;
const STALL_CHECK_MS = 50;
/** Time for the clients to open, and for everything to arrive at the end. */
const SETTLE_TIMEOUT_MS = 60_000;
/** Delay before an unanswered message is sent again, doubled by each try. */
const RETRY_MS = 250;
const MAX_RETRY_MS = 2_000;

export class Load {
  /**
   * @param {import("./system.mjs").System} system
   * @param {Person} admin
   * @param {Person[]} people
   * @param {import("./random.mjs").Random} random
   */
  constructor(system, admin, people, random) {
    this.system = system;
    this.admin = admin;
    this.people = people;
    this.random = random;
    this.history = new History();
    /** @type {StompUser[]} */
    this.stomp = [];
    /** @type {SseUser[]} */
    this.sse = [];
    /** Public rooms. @type {string[]} */
    this.publicRooms = [];
    /** Private rooms. @type {string[]} */
    this.privateRooms = [];
    /** Participants who may be removed, of each private room. @type {Map<string, Person[]>} */
    this.removable = new Map();
    /** Clients of each room whose deliveries count as the latency. @type {Map<string, string[]>} */
    this.audience = new Map();
    /** Messages with a change in progress, or with one that was not answered. @type {Set<string>} */
    this.changing = new Set();
    /** Requests without an answer. @type {Set<Promise<void>>} */
    this.running = new Set();
    this.count = 0;
    /** @type {NodeJS.Timeout[]} */
    this.timers = [];
    this.isEnding = false;
  }

  // ---- setup -----------------------------------------------------------------------------------------------------

  /** Creates the rooms and connects the clients. @param {string} name unique */
  async open(name) {
    const { history, people, admin } = this;
    for (let number = 1; number <= PUBLIC_ROOMS; number++) {
      const { id } = await admin.insist((api) => api.createChannel(`${name}-${number}`));
      this.publicRooms.push(id);
      history.rooms.set(id, { id, isPrivate: false, members: [] });
    }
    for (let number = 0; number < PRIVATE_ROOMS; number++) {
      const members = this.random.shuffled(people).slice(0, 8);
      const ids = [admin, ...members].map((person) => person.id);
      const { id } = await admin.insist((api) => api.createPrivate(ids));
      this.privateRooms.push(id);
      this.removable.set(id, members.slice(0, 4));
      history.rooms.set(id, { id, isPrivate: true, members: ids });
    }
    for (let number = 0; number < STOMP_CLIENTS; number++) this.stomp.push(this.#stompUser(number));
    for (let number = 0; number < SSE_CLIENTS; number++) {
      const person = people[number % people.length];
      const side = this.system.sides[number % this.system.sides.length];
      this.sse.push(new SseUser({ history, name: `events-${number}`, person, url: side.url }));
    }
    for (const client of [...this.stomp, ...this.sse]) client.open();
    await until("all clients are connected", () => this.isComplete(), SETTLE_TIMEOUT_MS);
    for (const [room] of history.rooms) {
      const removable = this.removable.get(room) ?? [];
      const present = this.stomp.filter((client) => client.rooms.has(room) && !removable.includes(client.person));
      this.audience.set(room, present.map((client) => client.name));
    }
    let last = Date.now();
    this.timers.push(setInterval(() => {
      const now = Date.now();
      if (now - last > 3 * STALL_CHECK_MS) history.stalls.push({ at: now, ms: now - last - STALL_CHECK_MS });
      last = now;
    }, STALL_CHECK_MS));
  }

  /** @param {number} number */
  #stompUser(number) {
    const { history, people, random } = this;
    const person = people[number % people.length];
    const transport = TRANSPORTS[number % TRANSPORTS.length];
    const side = this.system.sides[Math.floor(number / 2) % this.system.sides.length];
    const own = this.privateRooms.filter((room) => history.rooms.get(room)?.members.includes(person.id));
    const rooms = [...random.shuffled(this.publicRooms).slice(0, 3), ...own];
    const name = `${transport.replaceAll(" ", "-")}-${number}`;
    const reconnectDelay = random.integer(200, 700);
    return new StompUser({
      history, name, person, transport, url: side.url, rooms, watchesChanges: number % 4 === 0, reconnectDelay,
    });
  }

  isComplete() {
    return this.stomp.every((client) => client.isSubscribed) && this.sse.every((client) => client.lastId);
  }

  // ---- what the users do -----------------------------------------------------------------------------------------

  /** Starts the traffic. */
  begin() {
    this.timers.push(
      setInterval(() => this.#track(this.#sendAny()), 1_000 / SENDS_PER_SECOND),
      setInterval(() => this.#track(this.#changeAny()), CHANGE_EVERY_MS),
      setInterval(() => this.#track(this.#causeEvent()), CAUSE_EVERY_MS),
    );
  }

  /** @param {Promise<void>} work */
  #track(work) {
    this.running.add(work);
    void work.finally(() => this.running.delete(work));
  }

  #sendAny() {
    const room = this.random.pick(this.random.next() < PRIVATE_SHARE ? this.privateRooms : this.publicRooms);
    const audience = this.audience.get(room) ?? [];
    const name = this.random.pick(audience);
    const client = this.stomp.find((known) => known.name === name);
    return client ? this.send(client.person, room, client) : Promise.resolve();
  }

  /**
   * Sends a message until it is answered.
   *
   * @param {Person} person
   * @param {string} channel
   * @param {StompUser} [client] sends by STOMP while it is connected
   */
  async send(person, channel, client) {
    const id = randomUUID();
    const [number, byStomp] = [++this.count, this.random.next() < STOMP_SHARE];
    const at = Date.now();
    /** @type {import("./history.mjs").Send} */
    const send = { id, author: person.id, channel, text: `m${number}-${id.slice(0, 4)} hello`, at, triedAt: at, tries: 0, outcome: "pending" };
    this.history.sends.set(id, send);
    for (let wait = RETRY_MS; ; wait = Math.min(2 * wait, MAX_RETRY_MS)) {
      send.tries++;
      send.triedAt = Date.now();
      const stomp = byStomp ? client?.send(send) : undefined;
      send.connection = stomp && send.tries === 1 ? client?.connection : undefined;
      const { outcome, reason, ...answer } = await (stomp ?? person.attempt((api) => api.post(channel, send.text, id)));
      send.reason = reason;
      if ("status" in answer && answer.status === 500) this.#note(person, reason);
      // After an unanswered try, a refusal says nothing about that try.
      if (outcome !== "unknown") {
        send.outcome = outcome === "refused" && send.tries > 1 ? "unknown" : outcome;
        if (outcome === "refused" && send.tries > 1) this.#note(person, reason);
        return;
      }
      if (this.isEnding) break;
      await sleep(wait);
    }
    send.outcome = "unknown";
  }

  /** @param {Person} person @param {string | undefined} reason */
  #note(person, reason) {
    this.history.refusals.push({ client: person.username, text: String(reason), at: Date.now() });
  }

  /** Edits a message, or deletes one in a public room. */
  async #changeAny() {
    const { history } = this;
    const recent = [...history.sends.values()].slice(-200);
    const candidates = recent.filter(({ id, outcome }) => outcome === "accepted" && !this.changing.has(id) && history.messageIds.has(id));
    const send = candidates.length ? this.random.pick(candidates) : undefined;
    const author = this.people.find(({ id }) => id === send?.author);
    const messageId = send && history.messageIds.get(send.id);
    if (!send || !author || !messageId) return;
    this.changing.add(send.id);
    const isDeletion = this.random.next() < 0.3 && !history.rooms.get(send.channel)?.isPrivate;
    const known = history.edits.filter((edit) => edit.send === send.id).length;
    /** @type {import("./history.mjs").Change} */
    const change = { send: send.id, at: Date.now(), outcome: "pending" };
    if (!isDeletion) change.text = `${send.text} edit-${known + 1}`;
    (isDeletion ? history.deletions : history.edits).push(change);
    const { outcome, reason, status } = await author.attempt((api) =>
      isDeletion ? api.deleteMessage(messageId) : api.editMessage(messageId, change.text ?? ""),
    );
    change.outcome = outcome;
    change.endedAt = Date.now();
    if (outcome === "refused" || status === 500) this.#note(author, reason);
    if (outcome === "accepted" && !isDeletion) this.changing.delete(send.id);
  }

  /** Creates a public channel, of which every SSE client gets an event. */
  async #causeEvent() {
    const at = Date.now();
    const { outcome, value, reason, status } = await this.admin.attempt((api) => api.createChannel(`event-${randomUUID()}`));
    if (outcome === "accepted") this.history.causes.push({ name: "channels.refresh", channel: value.id, at });
    else if (outcome === "refused" || status === 500) this.#note(this.admin, reason);
  }

  /** Removes a participant from a private room, if one is left to remove. */
  async removeAny() {
    const room = this.random.pick(this.privateRooms);
    const person = this.removable.get(room)?.pop();
    if (!person) return;
    for (const client of this.stomp) if (client.person === person) client.rooms.delete(room);
    /** @type {import("./history.mjs").Right} */
    const right = { channel: room, user: person.id, isMember: false, at: Date.now(), outcome: "pending" };
    this.history.rights.push(right);
    for (let tries = 1; !this.isEnding; tries++) {
      const { outcome, reason, status } = await this.admin.attempt((api) => api.removeParticipant(room, person.id));
      right.outcome = outcome;
      // An earlier try, which was not answered, has removed them.
      if (status === 404 && tries > 1) right.outcome = "accepted";
      if (right.outcome !== "unknown") {
        right.endedAt = Date.now();
        if (right.outcome === "refused") this.#note(this.admin, reason);
        return;
      }
      await sleep(RETRY_MS);
    }
  }

  // ---- the end ---------------------------------------------------------------------------------------------------

  /** Stops the traffic, waits until everything has arrived, and reads the stores. Returns how many ms that took. */
  async settle() {
    const { history, admin } = this;
    for (const timer of this.timers.splice(0)) clearInterval(timer);
    this.isEnding = true;
    await Promise.all(this.running);
    // The last event: a client that has it has all.
    const at = Date.now();
    const last = await admin.insist((api) => api.createChannel(`event-${randomUUID()}`));
    history.causes.push({ name: "channels.refresh", channel: last.id, at });
    for (const room of history.rooms.keys()) history.stored.set(room, await this.#readMessages(room));
    const missing = () => [
      ...this.stomp.filter((client) => !this.#hasAll(client)).map(({ name }) => name),
      ...this.sse.filter((client) => !client.channels.has(last.id) && client.resyncedAt < at).map(({ name }) => name),
    ];
    const deadline = Date.now() + SETTLE_TIMEOUT_MS;
    while (missing().length && Date.now() < deadline) await sleep(50);
    await this.#readNotifications(deadline);
    const took = Date.now() - at;
    // For late duplicates.
    await sleep(300);
    return took;
  }

  /** @param {StompUser} client */
  #hasAll(client) {
    return [...client.rooms].every((room) => {
      const last = this.history.stored.get(room)?.at(-1)?.seq ?? 0;
      return (client.last.get(room) ?? 0) >= last;
    });
  }

  /** @param {string} room @returns {Promise<import("./history.mjs").Stored[]>} */
  async #readMessages(room) {
    const messages = [];
    for (let cursor = ""; ; ) {
      const query = `/messages?channelId=${room}&size=100&sort=createdAt,asc${cursor && `&cursor=${cursor}`}`;
      const page = await this.admin.insist((api) => api.get(query));
      for (const { id, seq, clientMessageId, author, content } of page.content) {
        messages.push({ id, seq, send: clientMessageId, author: author?.id, text: content });
      }
      if (!page.hasNext) return messages;
      cursor = encodeURIComponent(page.nextCursor);
    }
  }

  /** Reads the notifications of the private rooms, again until none is missing. @param {number} deadline */
  async #readNotifications(deadline) {
    const { history } = this;
    for (const person of this.people) {
      for (;;) {
        const found = await this.#notificationsOf(person);
        history.notifications.set(person.id, found);
        if (found.length >= this.#expectedNotifications(person.id) || Date.now() > deadline) break;
        await sleep(250);
      }
    }
    const hasEvents = (/** @type {SseUser} */ client) =>
      client.resyncedAt > 0 || (history.notifications.get(client.person.id) ?? []).every(({ id }) => client.notifications.has(id));
    while (!this.sse.every(hasEvents) && Date.now() < deadline) await sleep(50);
  }

  /** @param {string} user */
  #expectedNotifications(user) {
    let count = 0;
    for (const [room, messages] of this.history.stored) {
      const { isPrivate, members } = this.history.rooms.get(room) ?? { isPrivate: false, members: [] };
      const wasRemoved = this.history.rights.some((right) => right.user === user && right.channel === room);
      if (isPrivate && members.includes(user) && !wasRemoved) count += messages.filter(({ author }) => author !== user).length;
    }
    return count;
  }

  /** @param {Person} person @returns {Promise<import("./history.mjs").StoredNotification[]>} */
  async #notificationsOf(person) {
    const found = [];
    for (let cursor = ""; ; ) {
      const page = await person.insist((api) => api.get(`/notifications?limit=100${cursor && `&cursor=${cursor}`}`));
      const own = page.content.filter((/** @type {{targetId: string}} */ { targetId }) => this.history.rooms.has(targetId));
      for (const { id, targetId, content } of own) found.push({ id, target: targetId, text: content });
      // Newest first: before these are the notifications of earlier faults.
      if (!page.nextCursor || own.length === 0) return found;
      cursor = encodeURIComponent(page.nextCursor);
    }
  }

  async close() {
    this.isEnding = true;
    for (const timer of this.timers.splice(0)) clearInterval(timer);
    for (const client of this.sse) client.close();
    await Promise.all(this.stomp.map((client) => within(client.close(), 5_000).catch(() => {})));
  }
}
