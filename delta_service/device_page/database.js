// The device's own store: one IndexedDB database a territory; rows and cursor change in the same transaction.

export class Database {
  static async open(name) {
    const request = indexedDB.open(`territory-delta/${name}`, 1);
    request.onupgradeneeded = () => {
      request.result.createObjectStore("rows", { keyPath: ["object", "id"] });
      request.result.createObjectStore("sync");
    };
    return new Database(await done(request));
  }

  constructor(idb) {
    this.idb = idb;
  }

  async load() {
    const transaction = this.idb.transaction(["rows", "sync"]);
    const rows = done(transaction.objectStore("rows").getAll());
    const cursor = done(transaction.objectStore("sync").get("cursor"));
    return { rows: await rows, cursor: (await cursor) ?? null };
  }

  async apply({ replace, puts, deletes, cursor }) {
    const transaction = this.idb.transaction(["rows", "sync"], "readwrite", { durability: "strict" });
    const rows = transaction.objectStore("rows");
    if (replace) rows.clear();
    for (const { object, id } of deletes) rows.delete([object, id]);
    for (const { object, id, text, part } of puts) rows.put({ object, id, text, part });
    transaction.objectStore("sync").put(cursor, "cursor");
    await new Promise((resolve, reject) => {
      transaction.oncomplete = resolve;
      transaction.onabort = transaction.onerror = () => reject(transaction.error);
    });
  }
}

function done(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}
