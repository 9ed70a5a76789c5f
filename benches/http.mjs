// Measures a node's HTTP side. `dev/measure resume`, `dev/measure rest` and `dev/measure sse` start a node and call it:
//   node benches/http.mjs resume|rest|sse ADDRESS PID     with ADMIN_USERNAME and ADMIN_PASSWORD in the environment
// sse: RATES events a second ("20 100") to 10 streams and to CLIENTS streams (1000), for SECONDS_EACH (10) each. The difference
// between the two is the processor time of the deliveries, without that of the requests which cause the events.
// resume: CLIENTS streams (2000) are cut, EVENTS events (200) happen, and all streams resume at once.
// rest: SECONDS_EACH (10) of requests over 16 connections, one kind after the other.
import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import net from 'node:net';
import { performance } from 'node:perf_hooks';

const [kind, address, pid] = process.argv.slice(2);
const [host, port] = address.split(':');
const base = `http://${address}/api`;
const STREAMS_PER_USER = 20;
const number = (name, otherwise) => Number(process.env[name] ?? otherwise);

async function call(method, path, { token, json, form, address } = {}) {
  const headers = {};
  if (token) headers.authorization = `Bearer ${token}`;
  if (json) headers['content-type'] = 'application/json';
  if (address) headers['x-forwarded-for'] = address;
  const response = await fetch(base + path, { method, headers, body: json ? JSON.stringify(json) : form });
  const body = await response.json();
  if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${JSON.stringify(body)}`);
  return { body, cursor: response.headers.get('x-event-cursor') };
}

function part(name, value) {
  const form = new FormData();
  form.append(name, new Blob([JSON.stringify(value)], { type: 'application/json' }));
  return form;
}

async function login(username, password) {
  const { body } = await call('POST', '/auth/login', { json: { username, password } });
  const user = JSON.parse(Buffer.from(body.split('.')[1], 'base64url')).userDto;
  return { token: body, id: user.id };
}

async function signUp() {
  const id = randomUUID().replaceAll('-', '');
  const user = { username: `m${id.slice(0, 15)}`, email: `${id}@example.org`, password: 'measure-password' };
  // An address for each user: sign-ups are limited by address.
  const address = id.slice(0, 16).replace(/(.{4})/g, '$1:') + ':1';
  await call('POST', '/users', { form: part('userCreateRequest', user), address });
  return login(user.username, user.password);
}

// Processor time of the node in seconds, and its resident memory in MiB.
function usage() {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1].split(' ');
  const resident = /VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))[1];
  return { cpu: (Number(fields[11]) + Number(fields[12])) / 100, resident: resident / 1024 };
}

function percentile(sorted, share) {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))];
}

// Opens a stream, and resolves with the number of its events of `name` before `sync`, its socket, and a function that cuts it.
function stream(token, resume, name) {
  return new Promise((resolve, reject) => {
    const socket = net.connect(Number(port), host);
    let text = '';
    socket.on('connect', () => {
      const last = resume ? `last-event-id: ${resume}\r\n` : '';
      socket.write(`GET /api/sse HTTP/1.1\r\nhost: ${address}\r\nauthorization: Bearer ${token}\r\n${last}\r\n`);
    });
    socket.on('error', reject);
    socket.on('close', () => reject(new Error(`a stream ended: ${text.slice(0, 200)}`)));
    socket.on('data', function read(data) {
      text += data;
      if (text.includes('event:resync')) reject(new Error('a stream got resync'));
      if (!text.includes('event:sync')) return;
      socket.off('data', read);
      socket.removeAllListeners('close');
      socket.resume();
      resolve({ events: text.split(`event:${name}`).length - 1, socket, cut: () => socket.destroy() });
    });
  });
}

// Counts the events of `name` on an open stream, which arrive in whole or in parts.
function counter(socket, name, counted) {
  const mark = Buffer.from(`event:${name}\n`);
  let rest = Buffer.alloc(0);
  socket.on('data', (data) => {
    const text = rest.length > 0 ? Buffer.concat([rest, data]) : data;
    let at = 0;
    for (let found = text.indexOf(mark); found >= 0; found = text.indexOf(mark, at)) {
      counted();
      at = found + mark.length;
    }
    rest = text.subarray(Math.max(at, text.length - mark.length + 1));
  });
}

// Renames a channel `rate` times a second, by a schedule that is fixed beforehand, while `clients` streams are open.
async function broadcast(admin, channel, users, clients, rate, seconds) {
  let received = 0;
  const streams = await Promise.all(
    Array.from({ length: clients }, async (_, client) => {
      const opened = await stream(users[client % users.length].token, null, 'channels.refresh');
      counter(opened.socket, 'channels.refresh', () => (received += 1));
      return opened;
    }),
  );
  const total = rate * seconds;
  const [before, started] = [usage(), performance.now()];
  const requests = [];
  for (let event = 0; event < total; event += 1) {
    const due = started + (event * 1000) / rate;
    const wait = due - performance.now();
    if (wait > 1) await new Promise((done) => setTimeout(done, wait));
    const json = { newName: `news ${event}`, newDescription: '' };
    requests.push(call('PATCH', `/channels/${channel.id}`, { token: admin.token, json }));
  }
  await Promise.all(requests);
  const end = performance.now() + 10_000;
  while (received < total * clients && performance.now() < end) await new Promise((done) => setTimeout(done, 5));
  const took = (performance.now() - started) / 1000;
  const cpu = usage().cpu - before.cpu;
  for (const opened of streams) opened.cut();
  return { cpu, took, missing: total * clients - received };
}

async function sse(admin) {
  const [clients, seconds] = [number('CLIENTS', 1000), number('SECONDS_EACH', 10)];
  const users = [];
  while (users.length * STREAMS_PER_USER < clients) users.push(await signUp());
  const json = { name: 'news', description: '' };
  const { body: channel } = await call('POST', '/channels/public', { token: admin.token, json });
  let good = true;
  for (const rate of (process.env.RATES ?? '20 100').split(' ').map(Number)) {
    const few = await broadcast(admin, channel, users, 10, rate, seconds);
    const many = await broadcast(admin, channel, users, clients, rate, seconds);
    const each = ((many.cpu - few.cpu) / (rate * seconds * (clients - 10))) * 1e6;
    good &&= few.missing === 0 && many.missing === 0;
    console.log(
      `${rate} events/s to ${clients} streams: ${each.toFixed(1)} µs of processor time a delivery; ` +
        `${few.cpu.toFixed(2)} s with 10 streams, ${many.cpu.toFixed(2)} s with all, in ${many.took.toFixed(1)} s; ` +
        `${few.missing + many.missing} missing`,
    );
  }
  return good;
}

async function resume(admin) {
  const [clients, events] = [number('CLIENTS', 2000), number('EVENTS', 200)];
  const users = [];
  while (users.length * STREAMS_PER_USER < clients) users.push(await signUp());
  const cursors = [];
  for (const { token } of users) cursors.push((await call('GET', '/users?limit=1', { token })).cursor);
  for (let event = 0; event < events; event += 1) {
    await call('POST', '/channels/public', { token: admin.token, json: { name: 'news', description: '' } });
  }
  await new Promise((done) => setTimeout(done, 1000));
  const [before, started] = [usage(), performance.now()];
  const times = [];
  const streams = await Promise.all(
    Array.from({ length: clients }, async (_, client) => {
      const user = client % users.length;
      const opened = await stream(users[user].token, cursors[user], 'channels.refresh');
      times.push(performance.now() - started);
      return opened;
    }),
  );
  const after = usage();
  const wrong = streams.filter((opened) => opened.events < events).length;
  for (const opened of streams) opened.cut();
  times.sort((a, b) => a - b);
  const seconds = (share) => (percentile(times, share) / 1000).toFixed(2);
  console.log(
    `${clients} streams resume after ${events} events: half within ${seconds(0.5)} s, all within ${seconds(1)} s, ` +
      `${(after.cpu - before.cpu).toFixed(2)} s of processor time, ${after.resident.toFixed(0)} MiB, ${wrong} incomplete`,
  );
  return wrong === 0;
}

// Sends the same request over 16 connections until the time is over.
async function load(path, token, seconds) {
  const request = `GET /api${path} HTTP/1.1\r\nhost: ${address}\r\nauthorization: Bearer ${token}\r\n\r\n`;
  const times = [];
  let failed = 0;
  const end = performance.now() + seconds * 1000;
  const connection = () =>
    new Promise((resolve, reject) => {
      const socket = net.connect(Number(port), host).setNoDelay();
      let [input, missing, started] = [Buffer.alloc(0), 0, 0];
      const send = () => {
        if (performance.now() > end) {
          socket.removeAllListeners('close');
          socket.destroy();
          resolve();
          return;
        }
        started = performance.now();
        socket.write(request);
      };
      const done = () => {
        times.push(performance.now() - started);
        send();
      };
      socket.on('connect', send);
      socket.on('error', reject);
      socket.on('close', () => reject(new Error('the node closed a connection')));
      socket.on('data', (data) => {
        if (missing > 0) {
          missing -= data.length;
          if (missing === 0) done();
          return;
        }
        input = Buffer.concat([input, data]);
        const head = input.indexOf('\r\n\r\n');
        if (head < 0) return;
        const text = input.toString('latin1', 0, head);
        if (!text.startsWith('HTTP/1.1 200')) failed += 1;
        const length = /content-length: (\d+)/i.exec(text);
        if (!length) return reject(new Error(`no length: ${text}`));
        missing = head + 4 + Number(length[1]) - input.length;
        input = Buffer.alloc(0);
        if (missing === 0) done();
      });
    });
  const before = usage();
  await Promise.all(Array.from({ length: 16 }, connection));
  const cpu = usage().cpu - before.cpu;
  times.sort((a, b) => a - b);
  const name = path.split('?')[0].padEnd(14);
  console.log(
    `${name} ${Math.round(times.length / seconds)} requests/s, p50 ${percentile(times, 0.5).toFixed(1)} ms, ` +
      `p99 ${percentile(times, 0.99).toFixed(1)} ms, ${((cpu / times.length) * 1e6).toFixed(0)} µs of processor time each, ${failed} failed`,
  );
  return failed === 0;
}

async function rest(admin) {
  const user = await signUp();
  const name = { name: 'rest', description: '' };
  const { body: channel } = await call('POST', '/channels/public', { token: admin.token, json: name });
  for (let message = 0; message < 60; message += 1) {
    const form = part('messageCreateRequest', { content: 'x'.repeat(200), channelId: channel.id, authorId: user.id });
    await call('POST', '/messages', { token: user.token, form });
  }
  let good = true;
  const paths = [`/channels?userId=${user.id}`, `/readStatuses?userId=${user.id}`, '/users', `/messages?channelId=${channel.id}`];
  for (const path of paths) good = (await load(path, user.token, number('SECONDS_EACH', 10))) && good;
  return good;
}

const admin = await login(process.env.ADMIN_USERNAME, process.env.ADMIN_PASSWORD);
const good = await { resume, rest, sse }[kind](admin);
process.exit(good ? 0 : 1);
