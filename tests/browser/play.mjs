// Plays a scenario to the page's own rules: answers in, what the device did out. Reads and writes JSON.
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const [, , modules] = process.argv;
const load = (name) => import(pathToFileURL(`${modules}/${name}`));
const { Connection } = await load("connection.js");
const { partOf } = await load("digest.js");
const { Device } = await load("sync.js");

const { stored, answers } = JSON.parse(readFileSync(0, "utf8"));
for (const row of stored.rows) row.part = await partOf(row.object, row.id, row.text);
const seen = { requests: [], sleeps: [], events: [], transactions: [] };

const database = {
  load: async () => stored,
  apply: async ({ replace, puts, deletes, cursor }) =>
    seen.transactions.push({ replace, puts: puts.map(({ id }) => id), deletes: deletes.map(({ id }) => id), cursor }),
};

async function fetch(path, { method = "GET", body, headers }) {
  const next = answers.shift();
  if (!next) {
    device.stop();
    throw new Error("the scenario is over");
  }
  seen.requests.push({ ask: `${method} ${path}`, body: body && JSON.parse(body), token: headers.Authorization });
  if (next.unreachable) throw new TypeError("fetch failed");
  return new Response(next.body, { status: next.status, headers: next.headers });
}

const device = new Device({
  territory: "T 1",
  connection: new Connection("a-token", fetch),
  database,
  tell: ({ kind, ...event }) => seen.events.push({ kind, ...event, rows: undefined, error: event.error?.message }),
  sleep: async (ms) => seen.sleeps.push(ms),
});
await device.run();
const rows = [...device.replica.rows].flatMap(([object, held]) => [...held].map(([id, { text }]) => [object, id, text]));
process.stdout.write(JSON.stringify({ ...seen, rows, cursor: device.cursor }));
