// The rules of synchronising, without a page: they run wherever fetch and Web Crypto are.

import { Problem } from "./connection.js";
import { partOf } from "./digest.js";
import { freshnessOf } from "./freshness.js";
import { comparison, versionsAsked } from "./repair.js";
import { Replica } from "./replica.js";
import { entriesOf } from "./rows.js";

const HELD_SECONDS = 25;
const SHORT_HOLD_MS = 1000;
const FIRST_BACKOFF_MS = 500;
const MAX_BACKOFF_MS = 30_000;

/**
 * Keeps a database equal to a territory's view.
 *
 * `database` has `load() -> {cursor, rows}` and `apply({replace, puts, deletes, cursor})`, one transaction each.
 * `tell(event)` hears of everything: loaded, received, applied, verified, problem, waiting.
 * `sleep(ms, signal)` ends early when the signal aborts.
 */
export class Device {
  constructor({ territory, connection, database, tell, sleep = sleepMs }) {
    Object.assign(this, { connection, database, tell, sleep });
    this.base = `/v1/territories/${encodeURIComponent(territory)}`;
    this.replica = new Replica();
    this.cursor = null;
    this.step = "delta"; // what to ask for next: delta, reconcile, snapshot
    this.failures = 0; // in a row
    this.caughtUp = false;
    this.stopping = new AbortController();
    this.nap = null;
  }

  async run() {
    const stored = await this.database.load();
    this.cursor = stored.cursor;
    this.replica = new Replica(stored.rows);
    this.tell({ kind: "loaded", rows: this.replica.rows, cursor: this.cursor });
    while (!this.stopping.signal.aborted) {
      try {
        await this[this.step]();
      } catch (error) {
        if (!this.stopping.signal.aborted) await this.recover(error);
      }
    }
  }

  stop() {
    this.stopping.abort();
    this.nap?.abort();
  }

  /** Ask now rather than later: the page is seen again, or the network is back. A wait the server asked for stays. */
  wake() {
    this.nap?.abort();
  }

  /** What is new since the cursor. Once caught up, the server holds the question while there is nothing. */
  async delta() {
    if (this.cursor === null) return this.snapshot();
    const wait = this.caughtUp ? `&wait=${HELD_SECONDS}` : "";
    const asked = performance.now();
    const answer = await this.get(`${this.base}/delta?since=${encodeURIComponent(this.cursor)}${wait}`);
    const changed = await this.take(answer);
    // A server with too many to hold answers at once; asking again at once would make it worse.
    if (wait && !changed && performance.now() - asked < SHORT_HOLD_MS) {
      await this.rest(Number(answer.headers.get("Sync-Next-Expected") ?? HELD_SECONDS) * 1000);
    }
  }

  /** Everything, as at a first sync; what is here stays until the whole answer is. */
  async snapshot() {
    await this.take(await this.get(`${this.base}/delta`));
  }

  /** Only what differs, found by comparing digests of parts. */
  async reconcile() {
    const rows = this.replica.rows;
    const { counts } = JSON.parse((await this.get(`${this.base}/digest`)).text);
    const first = await this.post(`${this.base}/reconcile`, await comparison(rows, Object.keys(counts)));
    const second = await this.post(`${this.base}/reconcile`, await versionsAsked(rows, JSON.parse(first.text)));
    await this.take(second);
  }

  /** Apply an answer with all its pages in one transaction, cursor and all. Returns whether it changed anything. */
  async take(answer) {
    const replace = answer.headers.get("Sync-Mode") === "replace";
    const puts = [];
    const deletes = [];
    for (;;) {
      for (const { object, list, text } of entriesOf(answer.text)) {
        const row = JSON.parse(text);
        if (list === "deleted") deletes.push({ object, id: row.rowId });
        else puts.push({ object, id: row[`${object}Id`], text });
      }
      this.tell({ kind: "received", rows: puts.length + deletes.length });
      if (answer.headers.get("Sync-Complete") === "true") break;
      answer = await this.get(nextPage(answer));
    }
    const { cursor, counts, digests, asOf } = factsOf(answer);
    const freshness = freshnessOf(answer.headers);
    await Promise.all(puts.map(async (put) => (put.part = await partOf(put.object, put.id, put.text))));
    await this.database.apply({ replace, puts, deletes, cursor });

    const first = this.cursor === null && this.replica.size === 0;
    const change = this.replica.apply({ replace, puts, deletes });
    this.cursor = cursor;
    this.tell({ kind: "applied", change, first, cursor, asOf, freshness });
    this.verify(this.replica.compare(counts, digests));
    return puts.length + deletes.length > 0;
  }

  /** What is not proven equal is repaired: by what differs, then, if that did not help, by everything. */
  verify(objects) {
    const identical = objects.every((object) => object.identical);
    this.tell({ kind: "verified", identical, objects });
    this.caughtUp = identical;
    if (identical) {
      this.step = "delta";
      this.failures = 0;
      return;
    }
    const before = this.step;
    this.step = before === "delta" && this.replica.size ? "reconcile" : "snapshot";
    if (before === "snapshot") throw new Error("Even a fresh copy does not have the digest that the server tells.");
  }

  async recover(error) {
    const before = this.step;
    this.caughtUp = false;
    this.tell({ kind: "problem", error });
    if (error instanceof Problem) {
      if (error.status === 403) await this.wipe();
      if (error.refused) return this.stop();
      this.step = this.stepAfter(error);
    }
    this.failures++;
    // Another way is tried at once, but only once: then in the rhythm of failures.
    if (this.step !== before && this.failures === 1) return;
    const backoff = Math.min(MAX_BACKOFF_MS, FIRST_BACKOFF_MS * 2 ** (this.failures - 1));
    const ms = error.retryAfterMs ?? backoff;
    this.tell({ kind: "waiting", ms });
    await this.rest(ms, { ordered: error.retryAfterMs !== undefined });
  }

  /** A cursor that is too old, or of another history, or unreadable, is given up; the rows stay until repaired. */
  stepAfter({ status, code, action }) {
    if (code === "page-expired" || status === 429 || status >= 500) return this.step;
    if (this.step !== "delta") return "snapshot";
    const lost = status === 409 || status === 410 || code === "cursor-malformed";
    if (!lost) return "delta";
    return action === "snapshot" || !this.replica.size ? "snapshot" : "reconcile";
  }

  /** Rows that this device may no longer have. */
  async wipe() {
    await this.database.apply({ replace: true, puts: [], deletes: [], cursor: null });
    const change = this.replica.apply({ replace: true, puts: [], deletes: [] });
    this.cursor = null;
    this.tell({ kind: "applied", change, first: false, cursor: null });
  }

  /** Spread over a quarter more, so that devices that failed together do not come back together. */
  async rest(ms, { ordered = false } = {}) {
    const nap = new AbortController();
    this.nap = ordered ? null : nap;
    await this.sleep(ms * (1 + Math.random() / 4), AbortSignal.any([this.stopping.signal, nap.signal]));
  }

  get(path) {
    return this.connection.get(path, this.stopping.signal);
  }

  post(path, body) {
    return this.connection.post(path, body, this.stopping.signal);
  }
}

function nextPage(answer) {
  const next = /<([^>]+)>;\s*rel="next"/.exec(answer.headers.get("Link") ?? "");
  if (!next) throw new Error("A page is missing, and the server does not say where it is.");
  return next[1];
}

/** What the last page says about the whole view. Without it nothing would be proven, so nothing is applied. */
function factsOf({ headers }) {
  const [cursor, counts, digests] = ["Sync-Cursor", "Sync-Counts", "Sync-Digest"].map((name) => headers.get(name));
  if (!cursor || !counts || !digests) throw new Error("The answer lacks its cursor, counts or digests.");
  return { cursor, counts: pairs(counts), digests: pairs(digests), asOf: headers.get("Sync-As-Of") };
}

/** `a=1, b=2` as an object. */
function pairs(header) {
  return Object.fromEntries(header.split(",").map((part) => part.trim().split("=")));
}

function sleepMs(ms, signal) {
  return new Promise((done) => {
    const timer = setTimeout(done, ms);
    signal.addEventListener("abort", () => (clearTimeout(timer), done()), { once: true });
  });
}
