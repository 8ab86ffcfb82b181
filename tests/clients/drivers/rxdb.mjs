import { createRxDatabase } from "rxdb";
import { getRxStorageMemory } from "rxdb/plugins/storage-memory";
import { replicateTerritory } from "./adapter.mjs";
import { Problem } from "./delta-api.mjs";
import { OBJECTS, complaints, serve, service } from "./serve.mjs";

const database = await createRxDatabase({ name: "device", storage: getRxStorageMemory(), multiInstance: false });
const schemaOf = (object) => ({
  version: 0,
  type: "object",
  primaryKey: `${object}Id`,
  properties: {
    [`${object}Id`]: { type: "string", maxLength: 100 },
    name: { type: ["string", "null"] },
    amount: { type: ["number", "null"] },
    version: { type: "string" },
  },
  required: [`${object}Id`],
});
const collections = await database.addCollections(
  Object.fromEntries(OBJECTS.map((object) => [object, { schema: schemaOf(object) }])),
);
let running;
// Pages that were asked for and are not answered until they have expired.
let held = null;
const readPage = service.page.bind(service);
service.page = async (path) => {
  if (held && path.includes("page=")) {
    await new Promise((expire) => held.push(expire));
    throw new Problem(410, { code: "page-expired" });
  }
  return readPage(path);
};
const batchSize = Number(process.env.BATCH_SIZE);

function start() {
  running = replicateTerritory({ service, collections, batchSize, retryTime: 100 });
  for (const replication of Object.values(running.replications)) {
    replication.error$.subscribe((error) => complaints.push(JSON.stringify(error.parameters?.errors ?? error)));
  }
}

await serve({
  /** Live until stopped. */
  start: async () => {
    start();
    await Promise.all(Object.values(running.replications).map((replication) => replication.awaitInitialReplication()));
  },
  stop: () => running.stop(),
  startWithHeldPages: () => {
    held = [];
    start();
  },
  heldPages: () => held.length,
  expirePages: () => {
    const expired = held;
    held = null;
    for (const expire of expired) expire();
  },
  rows: async () => {
    const rows = {};
    for (const object of OBJECTS) {
      const documents = await collections[object].find().exec();
      rows[object] = documents.map((document) => {
        const { [`${object}Id`]: id, name, amount, version } = document.toJSON();
        return { [`${object}Id`]: id, name, amount, _v: version };
      });
    }
    return rows;
  },
});
