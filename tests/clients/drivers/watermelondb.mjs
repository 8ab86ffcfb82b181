import { createRequire } from "node:module";
import { pullChangesFrom } from "./adapter.mjs";
import { OBJECTS, complaints, serve, service } from "./serve.mjs";

const require = createRequire(import.meta.url);
const { Database, Model, appSchema, tableSchema } = require("@nozbe/watermelondb");
const LokiJSAdapter = require("@nozbe/watermelondb/adapters/lokijs").default;
const { synchronize } = require("@nozbe/watermelondb/sync");

const columns = [
  { name: "name", type: "string", isOptional: true },
  { name: "amount", type: "number", isOptional: true },
];
const schema = appSchema({ version: 1, tables: OBJECTS.map((name) => tableSchema({ name, columns })) });
const modelClasses = OBJECTS.map(
  (table) =>
    class extends Model {
      static table = table;
    },
);
const adapter = new LokiJSAdapter({ schema, useWebWorker: false, useIncrementalIndexedDB: false, dbName: "device" });
const database = new Database({ adapter, modelClasses });
// That an option is deprecated which Node, without IndexedDB, needs: it says so once, while the database is made.
complaints.length = 0;
const pullChanges = pullChangesFrom(service, database);

await serve({
  sync: () => synchronize({ database, pullChanges }),
  /** A sync whose pull arrives and is never applied. */
  lostSync: async () => {
    const dying = async (asked) => {
      await pullChanges(asked);
      throw new Error("killed");
    };
    await synchronize({ database, pullChanges: dying }).catch(() => {});
  },
  rows: async () => {
    const rows = {};
    for (const table of OBJECTS) {
      const records = await database.get(table).query().fetch();
      rows[table] = records.map(({ _raw: { id, name, amount } }) => ({ [`${table}Id`]: id, name, amount }));
    }
    return rows;
  },
});
