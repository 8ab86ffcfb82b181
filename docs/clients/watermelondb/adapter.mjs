// WatermelonDB's synchronize() against the delta API. The lists are only renamed; how the cursor is kept is below.

import { Problem } from "../delta-api.mjs";

/**
 * `pullChanges` for `synchronize({ database, pullChanges })`. Tables are named like the API's objects, their columns
 * like its fields; a field without a column is left out.
 *
 * WatermelonDB wants a number where the API has a text. The number counts pulls, and names the place in the
 * database's local storage where the cursor of that pull is. WatermelonDB commits the number with the rows, so a pull
 * that is killed half-way leaves the number, and with it the cursor, of the pull before.
 */
export function pullChangesFrom(service, database) {
  const storage = database.localStorage;
  const place = (pull) => `territory-delta:cursor:${pull}`;

  return async ({ lastPulledAt }) => {
    const pull = lastPulledAt ?? 0;
    const since = pull ? await storage.get(place(pull)) : undefined;
    const answer = await deltaOrEverything(service, since, Object.keys(database.collections.map));
    const changes = {};
    for (const [table, lists] of Object.entries(answer.lists)) {
      changes[table] = renamed(table, lists);
      if (answer.replaces) changes[table] = await splitByKnown(database.get(table), changes[table]);
    }
    if (answer.cursor) await storage.set(place(pull + 1), answer.cursor);
    else await storage.remove(place(pull + 1));
    await storage.remove(place(pull - 1));
    return { changes, timestamp: pull + 1, ...(answer.replaces && { experimentalStrategy: "replacement" }) };
  };
}

async function deltaOrEverything(service, since, tables) {
  try {
    return await service.wholeDelta(since ? { since } : {});
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    if (error.revoked) {
      const nothing = { insert: [], update: [], deleted: [] };
      return { lists: Object.fromEntries(tables.map((table) => [table, nothing])), cursor: null, replaces: true };
    }
    if (since && error.lostCursor) return service.wholeDelta({});
    throw error;
  }
}

function renamed(table, { insert, update, deleted }) {
  const raw = ({ [`${table}Id`]: id, ...fields }) => ({ id, ...fields });
  return { created: insert.map(raw), updated: update.map(raw), deleted: deleted.map(({ rowId }) => rowId) };
}

/** A whole view lists every row as an insert; WatermelonDB wants to be told which ones it knows. */
async function splitByKnown(collection, { created, deleted }) {
  const known = new Set(await collection.query().fetchIds());
  return {
    created: created.filter(({ id }) => !known.has(id)),
    updated: created.filter(({ id }) => known.has(id)),
    deleted,
  };
}
