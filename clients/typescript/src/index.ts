// A client of Discodeit: the two streams and the outbox. See README.md.
export { backoff, pause, pauseOrOnline } from "./backoff.js";
export { isTransientCode, isTransientStatus } from "./decisions.js";
export { EventStream } from "./events.js";
export { Outbox } from "./outbox.js";
export { StompConnection } from "./stomp.js";
export { uuid } from "./uuid.js";
export type { EventOptions } from "./events.js";
export type { OutboxMessage, OutboxOptions, Refusal } from "./outbox.js";
export type { ConnectionState, Following, OnMessage, SockJsClass, StompOptions } from "./stomp.js";
