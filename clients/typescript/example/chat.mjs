// Sends each line of standard input to a channel, and prints what the channel delivers, until it has sent all of them.
//
//   CHAT_SERVER=http://localhost:3000 CHAT_USERNAME=… CHAT_PASSWORD=… CHAT_CHANNEL=ID node chat.mjs < lines
import { createInterface } from "node:readline";
import { EventStream, Outbox, StompConnection, uuid } from "discodeit-client";

const { CHAT_SERVER: server, CHAT_USERNAME: username, CHAT_PASSWORD: password, CHAT_CHANNEL: channelId } = process.env;

// ---- the token -----------------------------------------------------------------------------------------------------

let current = null;
let user;

/** Signs in when there is no token, or the server does not accept it. A browser would use GET /api/auth/me. */
async function token(rejected) {
  if (current && current !== rejected) return current;
  const answer = await fetch(`${server}/api/auth/login`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ username, password }),
  });
  if (!answer.ok) throw new Error(`login: ${answer.status}`);
  current = await answer.json();
  user = JSON.parse(Buffer.from(current.split(".")[1], "base64url").toString()).userDto;
  return current;
}

// ---- messages ------------------------------------------------------------------------------------------------------

/** Not confirmed, in the order of writing. */
let waiting = [];
let inputEnded = false;

const bodyOf = ({ clientMessageId, content }) => ({ clientMessageId, content, channelId, authorId: user.id });

function drop(id) {
  outbox.forget(id);
  waiting = waiting.filter(({ clientMessageId }) => clientMessageId !== id);
  if (inputEnded && !waiting.length) end();
}

const outbox = new Outbox({
  messages: () => waiting,
  change: (id, changes) =>
    (waiting = waiting.map((each) => (each.clientMessageId === id ? { ...each, ...changes } : each))),
  publish: (message) => connection.publish("/pub/messages", bodyOf(message)),
  post: async (message) => {
    const body = new FormData();
    body.append("messageCreateRequest", new Blob([JSON.stringify(bodyOf(message))], { type: "application/json" }));
    const headers = { Authorization: `Bearer ${await token(null)}` };
    const answer = await fetch(`${server}/api/messages`, { method: "POST", headers, body });
    if (answer.ok) return;
    const problem = await answer.json();
    throw Object.assign(new Error(problem.message), { code: problem.code, transient: answer.status >= 429 });
  },
  onRefused: ({ clientMessageId, content }, { message }) => {
    console.log(`refused: ${content}: ${message}`);
    drop(clientMessageId);
  },
  onStored: ({ clientMessageId }) => drop(clientMessageId),
});

const connection = new StompConnection({
  server,
  token,
  onState: (state) => {
    if (state === "on") outbox.connected();
  },
  loadSockJs: async () => (await import("sockjs-client")).default,
});
connection.follow(`/sub/channels.${channelId}.messages`, 0, (message, headers) => {
  // A real client reads the missing messages with GET /api/messages.
  if (headers.gap === "true") return console.log(`missing: ${message.fromSeq} to ${message.toSeq}`);
  console.log(`${message.seq}: ${message.content}`);
  drop(message.clientMessageId);
});
connection.subscribe("/user/queue/errors", (refusal) => outbox.refuse(refusal));

// ---- everything else -----------------------------------------------------------------------------------------------

const events = new EventStream({
  server,
  token,
  names: ["sync", "resync", "notifications"],
  onEvent: (name) => console.log(`event: ${name}`),
});

function end() {
  connection.disconnect();
  events.stop();
}

await token(null);
connection.connect();
events.listen(null);
for await (const content of createInterface({ input: process.stdin })) {
  waiting = [...waiting, { clientMessageId: uuid(), content, state: "waiting", tries: 0 }];
  outbox.flush();
}
inputEnded = true;
if (!waiting.length) end();
