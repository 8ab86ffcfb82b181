// What the adapters in this folder share: requests, pages, events, and the arithmetic of digests. No dependencies.

const BUCKETS = 256;
const MASK = (1n << 64n) - 1n;
const RECONNECT_MS = 5_000;
const LOST_CURSOR = ["cursor-malformed", "cursor-epoch", "cursor-ahead", "cursor-expired"];

/** A refusal as the service states it; `code` is stable. */
export class Problem extends Error {
  constructor(status, { code = "", detail = "", action } = {}, retryAfterSeconds) {
    super(`${status} ${code}: ${detail}`);
    Object.assign(this, { status, code, action, retryAfterSeconds });
  }

  /** The rows have to be fetched or compared anew: no delta leads from the cursor to the present. */
  get lostCursor() {
    return LOST_CURSOR.includes(this.code);
  }

  /** The device may not have these rows any longer. */
  get revoked() {
    return this.code === "scope-denied";
  }
}

/** The delta service at `url`; `route` is `/v1/territories/{id}`, or `/v1` for all that the token names. */
export class Service {
  /** `token()` gives a valid bearer token, or a promise of one. */
  constructor({ url, token, route = "/v1" }) {
    Object.assign(this, { url: url.replace(/\/$/, ""), token, route });
  }

  /**
   * One page: `{lists, cursor, next, replaces, held, heldSince}`. Either `cursor` (the last page) or `next` is null.
   * `held` counts, by object, the rows that are held back and may be outdated; it is empty nearly always.
   */
  async delta(parameters) {
    return this.page(`${this.route}/delta?${new URLSearchParams(parameters)}`);
  }

  async page(path) {
    return answerOf(await this.#ask(path));
  }

  /** A delta with all its pages: each object's lists joined. */
  async wholeDelta(parameters) {
    let page = await this.delta(parameters);
    const { lists } = page;
    while (page.next) {
      page = await this.page(page.next);
      for (const [object, more] of Object.entries(page.lists)) {
        for (const kind of ["insert", "update", "deleted"]) lists[object][kind].push(...more[kind]);
      }
    }
    return { ...page, lists };
  }

  /**
   * Repair in two rounds. `held` is object -> Map(row id -> version, the row's `_v`); all objects that are to be
   * compared. Resolves to the delta that turns what is held into the newest view.
   */
  async reconcile(held) {
    const buckets = {};
    for (const [object, rows] of Object.entries(held)) buckets[object] = await bucketDigests(object, rows);
    const path = `${this.route}/reconcile`;
    const { cursor, differing } = await (await this.#ask(path, { buckets })).json();
    const versions = {};
    for (const [object, wanted] of Object.entries(differing)) {
      const chosen = [];
      for (const [id, version] of held[object]) if (wanted.includes(await bucketOf(id))) chosen.push([id, version]);
      versions[object] = Object.fromEntries(chosen);
    }
    return answerOf(await this.#ask(`${path}?versions=true`, { cursor, differing, versions }));
  }

  /** Yields an event for each publication that touches the scope, for ever: a broken connection is made again. */
  async *events(signal) {
    let lastId;
    while (!signal.aborted) {
      try {
        const headers = { Accept: "text/event-stream", ...(lastId && { "Last-Event-ID": lastId }) };
        const response = await this.#ask("/v1/events", undefined, { headers, signal });
        for await (const { id, data } of eventsIn(response.body)) {
          lastId = id ?? lastId;
          yield JSON.parse(data);
        }
      } catch {
        // Whatever it was, also a token that has ended: the next connection asks for the token anew.
      }
      if (signal.aborted) return;
      await new Promise((done) => {
        const timer = setTimeout(done, RECONNECT_MS);
        signal.addEventListener("abort", () => (clearTimeout(timer), done()), { once: true });
      });
    }
  }

  async #ask(path, body, { headers = {}, signal } = {}) {
    const request = { headers: { Authorization: `Bearer ${await this.token()}`, ...headers }, signal, cache: "no-store" };
    if (body) Object.assign(request, { method: "POST", body: JSON.stringify(body) });
    if (body) request.headers["Content-Type"] = "application/json";
    const response = await fetch(this.url + path, request);
    if (response.ok) return response;
    const document = await response.json().catch(() => undefined);
    throw new Problem(response.status, document, Number(response.headers.get("Retry-After")) || undefined);
  }
}

async function answerOf(response) {
  const lists = await response.json();
  const complete = response.headers.get("Sync-Complete") === "true";
  const next = /<(\/[^>]+)>;\s*rel="next"/.exec(response.headers.get("Link") ?? "")?.[1] ?? null;
  const cursor = response.headers.get("Sync-Cursor");
  if (complete ? !cursor : !next) throw new Error("The answer lacks its cursor, or its next page.");
  const replaces = response.headers.get("Sync-Mode") === "replace";
  const held = heldIn(response.headers.get("Sync-Held"));
  return { lists, cursor, next, replaces, held, heldSince: response.headers.get("Sync-Held-Since") };
}

/** `account=12, contact=3` as an object. */
function heldIn(header) {
  const parts = (header ?? "").split(",").filter(Boolean).map((part) => part.trim().split("="));
  return Object.fromEntries(parts.map(([object, rows]) => [object, Number(rows)]));
}

async function* eventsIn(body) {
  let text = "";
  for await (const chunk of body.pipeThrough(new TextDecoderStream())) {
    text += chunk;
    let end;
    while ((end = text.indexOf("\n\n")) >= 0) {
      const fields = Object.fromEntries(
        text.slice(0, end).split("\n").filter((line) => line && !line.startsWith(":")).map((line) => line.split(/: ?(.*)/s)),
      );
      text = text.slice(end + 2);
      if (fields.data !== undefined) yield fields;
    }
  }
}

/** The digests of an object's 256 buckets, from Map(row id -> version). */
export async function bucketDigests(object, rows) {
  const sums = Array(BUCKETS).fill(0n);
  for (const [id, version] of rows) sums[await bucketOf(id)] += await partOf(object, id, version);
  return sums.map((sum) => (sum & MASK).toString(16).padStart(16, "0"));
}

/** A row's place among 256: the first byte of SHA-256 of its id. */
export async function bucketOf(id) {
  return (await sha256(id)).getUint8(0);
}

/** A row's part in its object's digest: the first 64 bits of SHA-256 of `object|rowId|version`. */
export async function partOf(object, id, version) {
  return (await sha256(`${object}|${id}|${version}`)).getBigUint64(0);
}

async function sha256(text) {
  return new DataView(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text)));
}
