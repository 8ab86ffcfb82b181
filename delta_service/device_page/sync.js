// The rules of synchronising, without a page: works wherever fetch and Web Crypto are.

import { partOf, sumOf } from "./digest.js";
import { entriesOf } from "./rows.js";

const HELD_SECONDS = 25;
const MAX_BACKOFF_MS = 30_000;

/** An answer that is a problem document. `action` tells what the server advises, if anything. */
export class Problem extends Error {
  constructor(status, body, retryAfterMs) {
    super(body.detail ?? body.title ?? `HTTP ${status}`);
    Object.assign(this, { status, code: body.code, action: body.action, retryAfterMs });
  }
}

/**
 * Keeps a database equal to a territory's view.
 *
 * `database` has `load() -> {cursor, rows}` and `apply({replace, puts, deletes, cursor})`, one transaction each.
 * `tell(event)` hears of everything: applied, verified, waiting, problem.
 */
export class Device {
  constructor({ territory, token, database, tell, fetch = globalThis.fetch.bind(globalThis) }) {
    Object.assign(this, { territory, token, database, tell, fetch });
    this.rows = new Map(); // object -> Map(id -> {text, part})
    this.cursor = null;
    this.failures = 0;
    this.mismatches = 0;
    this.caughtUp = false;
    this.stopping = new AbortController();
  }

  async run() {
    const stored = await this.database.load();
    this.cursor = stored.cursor;
    for (const { object, id, text, part } of stored.rows) this.of(object).set(id, { text, part });
    this.tell({ kind: "loaded", rows: this.rows, cursor: this.cursor });
    while (!this.stopping.signal.aborted) {
      try {
        await this.pull();
        this.failures = 0;
        this.caughtUp = true;
      } catch (error) {
        if (this.stopping.signal.aborted) return;
        await this.recover(error);
      }
    }
  }

  stop() {
    this.stopping.abort();
  }

  /** One delta, whole: all its pages, then one transaction. Held by the server while there is nothing new. */
  async pull() {
    // Asks at once until it has caught up, also after a failure; only then lets the server hold the question.
    const held = this.caughtUp ? `&wait=${HELD_SECONDS}` : "";
    const parameters = this.cursor === null ? "" : `?since=${encodeURIComponent(this.cursor)}${held}`;
    let answer = await this.get(`/v1/territories/${encodeURIComponent(this.territory)}/delta${parameters}`);
    const replace = answer.headers.get("Sync-Mode") === "replace";
    const entries = [];
    for (;;) {
      entries.push(...entriesOf(await answer.text()));
      if (answer.headers.get("Sync-Complete") === "true") break;
      const next = /<([^>]+)>;\s*rel="next"/.exec(answer.headers.get("Link") ?? "");
      if (!next) throw new Error("a page is missing, and the server does not say where it is");
      answer = await this.get(next[1]);
    }
    await this.apply(entries, replace, answer.headers);
  }

  async apply(entries, replace, headers) {
    const puts = [];
    const deletes = [];
    for (const { object, list, text } of entries) {
      const entry = JSON.parse(text);
      if (list === "deleted") deletes.push({ object, id: entry.rowId });
      else puts.push({ object, id: entry[`${object}Id`], text });
    }
    await Promise.all(puts.map(async (put) => (put.part = await partOf(put.object, put.id, put.text))));
    const cursor = headers.get("Sync-Cursor");
    await this.database.apply({ replace, puts, deletes, cursor });
    const change = { inserted: [], updated: [], deleted: [] };
    const listed = replace ? new Set(puts.map(({ object, id }) => `${object}|${id}`)) : null;
    if (listed) {
      for (const [object, rows] of this.rows) {
        for (const id of rows.keys()) if (!listed.has(`${object}|${id}`)) deletes.push({ object, id });
      }
    }
    for (const { object, id } of deletes) {
      const row = this.of(object).get(id);
      if (row) change.deleted.push({ object, id, text: row.text });
      this.of(object).delete(id);
    }
    for (const { object, id, text, part } of puts) {
      const known = this.of(object).get(id);
      if (!known) change.inserted.push({ object, id });
      else if (known.text !== text) change.updated.push({ object, id });
      this.of(object).set(id, { text, part });
    }
    const first = this.cursor === null;
    this.cursor = cursor;
    this.tell({ kind: "applied", change, first, cursor, asOf: headers.get("Sync-As-Of") });
    this.verify(headers);
  }

  /** Compare counts and digests with the server's. What does not agree is loaded anew. */
  verify(headers) {
    const counts = pairs(headers.get("Sync-Counts"));
    const digests = pairs(headers.get("Sync-Digest"));
    const objects = Object.keys(counts).map((object) => {
      const rows = this.of(object);
      const identical =
        rows.size === Number(counts[object]) && sumOf([...rows.values()].map((row) => row.part)) === digests[object];
      return { object, here: rows.size, there: Number(counts[object]), identical };
    });
    const identical = objects.every((one) => one.identical);
    this.tell({ kind: "verified", identical, objects });
    if (identical) return void (this.mismatches = 0);
    this.cursor = null;
    if (this.mismatches++) throw new Error("a fresh snapshot does not have the digest the server tells");
  }

  async get(path) {
    const headers = this.token ? { Authorization: `Bearer ${this.token}` } : {};
    const answer = await this.fetch(path, { headers, signal: this.stopping.signal, cache: "no-store" });
    if (answer.ok) return answer;
    const seconds = Number(answer.headers.get("Retry-After"));
    const body = await answer.json().catch(() => ({}));
    throw new Problem(answer.status, body, seconds > 0 ? seconds * 1000 : undefined);
  }

  /** What to do after a failure: begin anew where the server says so, otherwise wait and ask again. */
  async recover(error) {
    this.caughtUp = false;
    this.tell({ kind: "problem", error });
    const lostCursor = error instanceof Problem && [409, 410].includes(error.status);
    // An unreadable cursor can only be given up; the rows stay until a snapshot replaces them.
    if (lostCursor || error.code === "cursor-malformed") {
      const pageOnly = error.code === "page-expired";
      if (!pageOnly) this.cursor = null;
      if (this.failures++ === 0) return;
    }
    if (error instanceof Problem && [401, 403].includes(error.status)) {
      this.stop();
      return;
    }
    const backoff = Math.min(MAX_BACKOFF_MS, 500 * 2 ** this.failures++);
    const wait = (error.retryAfterMs ?? backoff) * (1 + Math.random() / 4);
    this.tell({ kind: "waiting", ms: wait });
    await new Promise((wake) => {
      const timer = setTimeout(wake, wait);
      this.stopping.signal.addEventListener("abort", () => (clearTimeout(timer), wake()), { once: true });
    });
  }

  of(object) {
    if (!this.rows.has(object)) this.rows.set(object, new Map());
    return this.rows.get(object);
  }
}

/** `a=1, b=2` as an object. */
export function pairs(header) {
  return Object.fromEntries((header ?? "").split(",").filter(Boolean).map((part) => part.trim().split("=")));
}
