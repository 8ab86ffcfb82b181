// RxDB replication from the delta API: one pull replication for each object, live by server-sent events.

import { replicateRxCollection } from "rxdb/plugins/replication";
import { Problem } from "../delta-api.mjs";

/**
 * Replicates `collections` (object -> RxCollection). Documents are the rows as served, with the row's `_v` as
 * `version`, since RxDB keeps names that begin with `_` for itself. The primary key of an object is `<object>Id`.
 *
 * Returns `{replications, stop}`; `replications[object]` is RxDB's replication state: `awaitInitialReplication()`,
 * `error$`, `reSync()`.
 */
export function replicateTerritory({ service, collections, batchSize = 1_000, live = true, retryTime = 5_000 }) {
  const replications = {};
  for (const [object, collection] of Object.entries(collections)) {
    replications[object] = replicateRxCollection({
      replicationIdentifier: `territory-delta ${service.url}${service.route} ${object}`,
      collection,
      pull: { batchSize, handler: pullHandler(service, object, collection) },
      live,
      retryTime,
    });
  }
  const listening = new AbortController();
  if (live) listen(service, replications, listening.signal);
  const stop = async () => {
    listening.abort();
    await Promise.all(Object.values(replications).map((replication) => replication.cancel()));
  };
  return { replications, stop };
}

/** Events carry no rows: they say that asking is worth it. */
async function listen(service, replications, signal) {
  for await (const _ of service.events(signal)) {
    for (const replication of Object.values(replications)) replication.reSync();
  }
}

/** A checkpoint is `{cursor, page}`: the view that is here, and where the delta under way goes on. */
function pullHandler(service, object, collection) {
  const key = `${object}Id`;
  const common = { objects: object, versions: "true" };
  // RxDB writes in the background: what it was given of a delta under way need not be in the collection yet.
  let given = new Map();

  async function heldVersions() {
    const held = new Map((await collection.find().exec()).map((document) => [document[key], document.version]));
    for (const [id, version] of given) version === null ? held.delete(id) : held.set(id, version);
    return held;
  }

  function result({ lists, cursor, next }, was) {
    const { insert, update, deleted } = lists[object];
    const documents = [...insert, ...update].map(({ _v, ...row }) => ({ ...row, version: _v, _deleted: false }));
    for (const { rowId } of deleted) documents.push({ [key]: rowId, version: "", _deleted: true });
    for (const document of documents) given.set(document[key], document._deleted ? null : document.version);
    return { documents, checkpoint: next ? { cursor: was, page: next } : { cursor, page: null } };
  }

  async function pull({ cursor = null, page = null } = {}, batchSize) {
    if (page) return result(await service.page(page), cursor);
    given = new Map();
    const held = cursor ? null : await heldVersions();
    // A whole view names no row that has to go. Where there are rows already, a comparison does.
    if (held?.size) return result(await service.reconcile({ [object]: held }));
    const since = cursor ? { since: cursor } : {};
    return result(await service.delta({ ...common, ...since, limit: String(batchSize) }), cursor);
  }

  return async (checkpoint, batchSize) => {
    try {
      return await pull(checkpoint ?? {}, batchSize);
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      if (error.revoked) {
        const deleted = [...(await heldVersions()).keys()].map((rowId) => ({ rowId }));
        return result({ lists: { [object]: { insert: [], update: [], deleted } }, cursor: null, next: null });
      }
      // Pages that are already here belong to a view that can no longer be completed: only a comparison tells.
      if (!error.lostCursor && error.code !== "page-expired") throw error;
      return result(await service.reconcile({ [object]: await heldVersions() }));
    }
  };
}
