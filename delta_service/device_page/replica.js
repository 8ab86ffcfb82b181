// The rows a device holds, with a running digest for each object: a check costs what changed, not what is held.

const MODULUS = 1n << 64n;

/** Rows by object and id, each with its JSON text exactly as served and its part in the object's digest. */
export class Replica {
  constructor(stored = []) {
    this.rows = new Map(); // object -> Map(id -> {text, part})
    this.sums = new Map(); // object -> sum of the parts modulo 2^64
    for (const { object, id, text, part } of stored) this.put(object, id, { text, part });
  }

  get size() {
    return [...this.rows.values()].reduce((total, rows) => total + rows.size, 0);
  }

  /** Take a delta in. Returns what it changed here: `{inserted, updated, deleted}`, each a list of `{object, id, text}`. */
  apply({ replace, puts, deletes }) {
    const gone = replace ? this.notListed(puts) : deletes;
    const change = { inserted: [], updated: [], deleted: [] };
    for (const { object, id } of gone) {
      const row = this.rows.get(object)?.get(id);
      if (!row) continue;
      change.deleted.push({ object, id, text: row.text });
      this.remove(object, id);
    }
    for (const { object, id, text, part } of puts) {
      const known = this.rows.get(object)?.get(id);
      if (!known) change.inserted.push({ object, id, text });
      else if (known.text !== text) change.updated.push({ object, id, text });
      this.put(object, id, { text, part });
    }
    return change;
  }

  /** Each object here or there, with its rows here, its rows there, and whether these are the same rows. */
  compare(counts, digests) {
    const objects = new Set([...Object.keys(counts), ...this.rows.keys()]);
    return [...objects].map((object) => {
      const here = this.rows.get(object)?.size ?? 0;
      const there = Number(counts[object] ?? 0);
      return { object, here, there, identical: here === there && (!there || this.digest(object) === digests[object]) };
    });
  }

  /** The digest of an object, as 16 hex digits. */
  digest(object) {
    return (this.sums.get(object) ?? 0n).toString(16).padStart(16, "0");
  }

  notListed(puts) {
    const listed = new Set(puts.map(({ object, id }) => `${object}|${id}`));
    const here = [...this.rows].flatMap(([object, rows]) => [...rows.keys()].map((id) => ({ object, id })));
    return here.filter(({ object, id }) => !listed.has(`${object}|${id}`));
  }

  put(object, id, row) {
    if (!this.rows.has(object)) this.rows.set(object, new Map());
    this.remove(object, id);
    this.rows.get(object).set(id, row);
    this.add(object, BigInt(`0x${row.part}`));
  }

  remove(object, id) {
    const row = this.rows.get(object)?.get(id);
    if (!row) return;
    this.rows.get(object).delete(id);
    this.add(object, MODULUS - BigInt(`0x${row.part}`));
  }

  add(object, part) {
    this.sums.set(object, ((this.sums.get(object) ?? 0n) + part) % MODULUS);
  }
}
