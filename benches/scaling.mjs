// Replays a day of a large system against the routing of messages, without sockets, and prints what nodes, Kafka and the network would
// carry. docs/scaling.md explains the columns.
//   node benches/scaling.mjs [USERS]      10000000
// Only samples of the day are drawn, so that it takes seconds; the same seed gives the same numbers.

const users = Number(process.argv[2] ?? 10_000_000);

// The model of the day. Change it to your own.
const model = {
  // Share of the users that is connected, by the hour.
  online: [18, 12, 8, 6, 5, 6, 9, 14, 20, 24, 26, 27, 28, 28, 28, 28, 29, 31, 34, 38, 40, 38, 32, 25].map((percent) => percent / 100),
  messagesPerOnlineHour: 6,
  // Members of a channel: this share of the messages goes to channels of so many.
  channels: [
    { share: 0.45, members: 2 },
    { share: 0.3, members: 12 },
    { share: 0.18, members: 150 },
    { share: 0.06, members: 2_000 },
    { share: 0.01, members: 50_000 },
  ],
  channelsPerUser: 12,
  frameBytes: 800,
  recordBytes: 700,
};

// Measured figures, with the places where they are: docs/performance.md and docs/measurements.md.
const measured = {
  deliveryMicros: 14, // at a low rate; 5 in a busy large channel
  recordMicros: 12, // of a record without subscribers on the node: not measured, taken as that of a delivery
  messagesPerCommitNode: 3_750, // with its PostgreSQL on the same core
  socketKib: 3.9 + 15.6, // STOMP and an event stream
};
const node = { connections: 50_000, cores: 2, share: 0.6 };

// A generator with a seed (mulberry32).
let state = 32;
function random() {
  state = (state + 0x6d2b79f5) | 0;
  let t = Math.imul(state ^ (state >>> 15), 1 | state);
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
  return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
}

function drawMembers() {
  let left = random();
  for (const { share, members } of model.channels) {
    if (left < share) return members;
    left -= share;
  }
  return model.channels[0].members;
}

// Nodes with a subscriber of the channel, when each subscriber is on a random one of `nodes`.
function interested(subscribers, nodes) {
  if (subscribers > 20 * nodes) return nodes;
  const hit = new Set();
  for (let n = 0; n < subscribers; n += 1) hit.add(Math.floor(random() * nodes));
  return hit.size;
}

const SAMPLES = 20_000;
// Connected users are spread over cells of `cell` nodes; all members of a channel are in one cell.
function hour(share, nodes, cell) {
  let [deliveries, records] = [0, 0];
  for (let sample = 0; sample < SAMPLES; sample += 1) {
    const subscribers = Math.max(1, Math.round(drawMembers() * share));
    deliveries += subscribers;
    // A node of another cell follows none of the partitions of this cell.
    records += interested(subscribers, Math.min(cell, nodes));
  }
  const messages = (users * share * model.messagesPerOnlineHour) / 3600;
  return { messages, deliveries: (messages * deliveries) / SAMPLES, useful: records / SAMPLES };
}

function print(label, value, unit) {
  const [scaled, prefix] = value >= 1e6 ? [value / 1e6, ' million'] : value >= 1e3 ? [value / 1e3, ' thousand'] : [value, ''];
  console.log(`${label.padEnd(58)} ${scaled.toFixed(scaled < 10 ? 1 : 0)}${prefix} ${unit}`);
}

const peak = Math.max(...model.online);
const nodes = Math.ceil((users * peak) / node.connections);
console.log(`${users} users, ${Math.round(users * peak)} connected in the busiest hour, ${nodes} nodes of ${node.connections} connections\n`);
let day = 0;
for (const share of model.online) day += hour(share, nodes, nodes).deliveries * 3600;
print('deliveries in the day', day, '');
const busiest = hour(peak, nodes, nodes);
print('messages in the busiest second', busiest.messages, '/s');
print('deliveries', busiest.deliveries, '/s');
print('deliveries of a node', busiest.deliveries / nodes, '/s');
print('bandwidth of a node to its clients', (busiest.deliveries / nodes) * model.frameBytes * 8e-6, 'Mbit/s');
print('memory of a node for connections', (node.connections * measured.socketKib) / 1024, 'MiB');
print('nodes that commit, at the measured rate', Math.ceil(busiest.messages / measured.messagesPerCommitNode), '');

console.log('\ncell: nodes among which the members of a channel are spread; a node reads the partitions of its cell\n');
console.log('| nodes in a cell | records read by a node, /s | of these with a subscriber there | Kafka sends | cores of a node |');
console.log('| --- | --- | --- | --- | --- |');
for (const cell of [nodes, 64, 16, 4]) {
  if (cell > nodes) continue;
  const { messages, deliveries, useful } = hour(peak, nodes, cell);
  const read = messages / (nodes / cell);
  const cores = (read * measured.recordMicros + (deliveries / nodes) * measured.deliveryMicros) / 1e6;
  const sends = (read * nodes * model.recordBytes * 8) / 1e9;
  console.log(`| ${cell} | ${Math.round(read)} | ${((useful / cell) * 100).toFixed(1)} % | ${sends.toFixed(1)} Gbit/s | ${cores.toFixed(2)} |`);
}
const fits = (node.cores * node.share * 1e6) / measured.recordMicros;
console.log(`\nA node of ${node.cores} cores at ${node.share * 100} % could read at most ${Math.round(fits)} records/s without any delivery.`);
